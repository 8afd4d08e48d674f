"""Why a run ended early, left on the run. Apart from tracking.py: a slip in an option shouldn't wait for torch."""

import contextlib

import mlflow
from mlflow.entities import RunTag
from mlflow.tracking import MlflowClient

from ..runtime import environment
from .notes import interrupted
from .vocabulary import Tag

KILLED, FAILED = "KILLED", "FAILED"


def reason_tags(status: str, reason: str) -> list[RunTag]:
    """The tags of a run that ended early: `error`, and the description, which the UI shows first.

    Args:
        status: KILLED or FAILED.
        reason: why.
    """
    note = RunTag(str(Tag.NOTE), interrupted(status, reason))
    return [RunTag(str(Tag.ERROR), reason[:5000]), note]


def note_failure(message: str) -> None:
    """Leave the reason of a failure on the run that is active or named by the environment."""
    active = mlflow.active_run()
    run_id = active.info.run_id if active else environment.RUN_ID.get()
    if run_id:
        with contextlib.suppress(Exception):  # the store may be what failed; the reason stands on stderr
            client = MlflowClient()
            error, note = reason_tags(FAILED, message)
            before = client.get_run(run_id).data.tags
            is_described = Tag.NOTE in before and Tag.ERROR not in before  # a run that others have finished parts of
            client.log_batch(run_id, tags=[error] if is_described else [error, note])
