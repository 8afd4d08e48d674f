"""Whether the process of a run still lives: it says so itself, and the next start marks the runs of dead ones."""

import contextlib
import threading
import time
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..runtime import environment
from ..runtime.process import ProcessName, is_in_an_environment
from ..runtime.progress import say
from .failure import KILLED, reason_tags
from .vocabulary import Tag

# seconds between two signs of life, and after which one of another machine counts as dead
BEAT, SILENCE = 60.0, 600.0
# seconds after which a run counts as dead that `mlflow run` made and no process has begun; longer than it takes to make
# an environment
UNNAMED = 3600.0
# what `mlflow run` calls the jobs of this project; `main` may be that of any project
ENTRY_POINTS = (
    "check",
    "fit",
    "tune",
    "stage1",
    "stage2",
    "ensemble",
    "infer",
    "evaluate",
    "compare",
    "register",
    "batch",
)


class Heartbeat:
    """Signs of life of a run, from a thread."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join(timeout=5)

    def _beat(self) -> None:
        client = MlflowClient()
        while not self._done.wait(BEAT):
            # a store that is away for a while is no reason to stop
            with contextlib.suppress(Exception):
                client.set_tag(self._run_id, str(Tag.HEARTBEAT), f"{time.time():.0f}")


def bury_dead(client: MlflowClient, experiment: str) -> list[str]:
    """Mark runs whose process is gone as killed; returns their ids.

    Args:
        client: of the store.
        experiment: id.
    """
    running = list(
        client.search_runs(
            [experiment], f"attributes.status = 'RUNNING' and tags.{Tag.PROCESS} LIKE '%'", max_results=1000
        )
    )
    by_id = {run.info.run_id: run for run in running}
    dead = [run for run in running if _is_dead(run, by_id, client)]
    for run in dead:
        words = f"its process {run.data.tags[Tag.PROCESS]} ended without a word: killed, out of memory, or a power cut"
        mark_killed(client, run.info.run_id, words)
    unnamed = _never_begun(client, experiment)
    for run in unnamed:
        mark_killed(client, run.info.run_id, "`mlflow run` made it, and no process ever began: killed before")
    dead += unnamed
    parents = [run for run in dead if run.data.tags.get(Tag.PARENT) not in by_id]
    if parents:
        names = ", ".join(f"{run.info.run_name} ({run.info.run_id})" for run in parents[:3])
        more = f" and {len(parents) - 3} more" if len(parents) > 3 else ""
        say(f"note: marked as killed, since their process is gone: {names}{more}")
    return [run.info.run_id for run in dead]


def mark_killed(client: MlflowClient, run_id: str, words: str) -> None:
    """End a run as killed, with the reason; a store that refuses or is away is left alone."""
    with contextlib.suppress(Exception):  # every backend raises its own, and the process ends for another reason
        client.log_batch(run_id, tags=reason_tags(KILLED, words))
        client.set_terminated(run_id, KILLED)


def _never_begun(client: MlflowClient, experiment: str) -> list[Run]:
    """Runs that `mlflow run` made for this project long ago and no process has put its name to.

    Nothing tells on which machine that was. Where it is alive after all, still making its environment, its process
    takes the run up when it starts: see tracking.py's `active_run`.
    """
    began = int(1000 * (time.time() - UNNAMED))
    found = client.search_runs(
        [experiment],
        f"attributes.status = 'RUNNING' and attributes.start_time < {began} and tags.`{Tag.ENTRY_POINT}` LIKE '%'",
        max_results=1000,
    )
    ours = [run for run in found if run.data.tags[Tag.ENTRY_POINT] in ENTRY_POINTS]
    own = environment.RUN_ID.get()
    unnamed = [run for run in ours if Tag.PROCESS not in run.data.tags and run.info.run_id != own]
    return [run for run in unnamed if not is_in_an_environment(environment.RUN_ID.name, run.info.run_id)]


def _is_dead(run: Run, running: dict[str, Run], client: MlflowClient) -> bool:
    process = ProcessName.parse(run.data.tags.get(Tag.PROCESS, ""))
    if process is None:
        return False
    alive = process.is_alive
    if alive is not None:
        return not alive
    # of another machine: by its last sign of life, or by that of the run that it lies below
    parent = run.data.tags.get(Tag.PARENT)
    if parent is not None:
        if parent in running:
            return _is_dead(running[parent], running, client)
        with contextlib.suppress(MlflowException):
            return bool(client.get_run(parent).info.status != "RUNNING")
        return False
    last = float(run.data.tags.get(Tag.HEARTBEAT, run.info.start_time / 1000))
    return time.time() - last > SILENCE
