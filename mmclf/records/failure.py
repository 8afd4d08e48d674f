"""Why a run failed, left on the run. Apart from tracking.py: a slip in an option shouldn't wait for torch."""

import contextlib

import mlflow
from mlflow.tracking import MlflowClient

from ..runtime import environment
from .vocabulary import Tag


def note_failure(message: str) -> None:
    """Leave the reason of a failure as tag `error` on the run that is active or named by the environment."""
    active = mlflow.active_run()
    run_id = active.info.run_id if active else environment.RUN_ID.get()
    if run_id:
        with contextlib.suppress(Exception):  # the store may be what failed; the reason stands on stderr
            MlflowClient().set_tag(run_id, str(Tag.ERROR), message[:5000])
