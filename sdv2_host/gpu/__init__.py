"""Running the streaming core on one device: staging, timing, the engine."""
