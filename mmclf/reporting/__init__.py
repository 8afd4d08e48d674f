"""The report of a run: one HTML page, pictures and tables, from an out-of-fold matrix and what is known of its rows.

It knows neither MLflow nor models: matrices, rows and curves go in, a page and files come out.
"""
