"""Trained models applied to rows: of a table, of a request, of a bundle."""
