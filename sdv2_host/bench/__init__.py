"""Measuring the product: a procedural world with exact flow, ground-truth styles, and metrics."""
