"""For creative apps: frames and control of a host, by one background thread. numpy only."""
