"""How the embedded model was made: `python -m training.train`. Not part of the wheel."""
