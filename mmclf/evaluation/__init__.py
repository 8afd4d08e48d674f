"""Matrices of probabilities, and what is computed from them."""
