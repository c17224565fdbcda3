"""A model, or what it predicted, against a dataset."""
