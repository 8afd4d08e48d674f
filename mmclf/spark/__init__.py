"""Catalogues that outgrow one machine."""
