"""One stream over many devices: who runs which part of the model, and when that changes."""
