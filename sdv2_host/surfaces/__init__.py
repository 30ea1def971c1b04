"""Ready-made surfaces and references, generated from the two tables."""
