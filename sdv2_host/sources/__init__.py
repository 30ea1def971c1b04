"""Where live pictures come from: test pattern, video file, camera. One process each, no torch."""
