"""Where styled pictures go when no plug-in takes them: a video file, a comparison sheet."""
