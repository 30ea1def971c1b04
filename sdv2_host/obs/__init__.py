"""OBS Studio from outside: its WebSocket server, a ready scene, scene switches, plug-in files."""
