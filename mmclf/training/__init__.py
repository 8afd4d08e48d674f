"""Epochs, folds, and the record of a fold as files."""
