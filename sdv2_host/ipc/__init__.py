"""Between processes: shared-memory frame rings, OSC, daemon <-> worker messages. No torch."""
