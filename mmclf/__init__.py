"""mmclf: classify products from pictures and text, with every experiment on record."""

__version__ = "0.1.0"
