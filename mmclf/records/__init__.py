"""All that MLflow keeps: runs, their artifacts, registered models."""
