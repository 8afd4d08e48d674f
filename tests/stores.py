"""An MLflow store for a test or a test file, which leaves no trace in the process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest


@contextlib.contextmanager
def mlflow_store(folder: Path) -> Iterator[Path]:
    """Work in `folder` with an empty store there, in this process and in those that it starts."""
    address = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.chdir(folder)
        mlflow.set_tracking_uri(address)
        try:
            yield folder
        finally:
            mlflow.set_tracking_uri(None)
