"""One thin module per entry point of MLproject; each is also `python -m entrypoints.NAME`."""
