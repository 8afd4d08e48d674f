"""How a run goes on after its process was killed: the same work is recognised, anything else starts anew.

What a run does is told by its tag `work`: a digest of all that its result depends on. A run that ended before it was
finished goes on when the same work is asked for again; a finished one is never touched. Where states of a training are
kept meanwhile: training/fold_state.py.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..config import Config
from ..data.catalog import Catalog
from ..data.folds import Split
from ..runtime import environment
from ..runtime.process import ProcessName
from ..runtime.progress import say
from ..store.cache import UNFINISHED, open_cache
from ..store.failures import LITTLE, free_bytes
from .vocabulary import Tag

# of a state whose run isn't in this store
SWEEP_DAYS = 30
DAY = 24 * 3600


@dataclass(frozen=True)
class Work:
    """What a run does.

    Attributes:
        stage: the job.
        parts: by a name for people, a digest or a value of each thing that the result depends on.
    """

    stage: str
    parts: dict[str, str]

    def digest(self) -> str:
        """First 16 hex digits of a SHA-256: the same for the same work."""
        text = json.dumps([self.stage, self.parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def tags(self) -> dict[Tag, str]:
        """Of its run."""
        return {Tag.WORK: self.digest(), Tag.WORK_PARTS: json.dumps(self.parts)}


@cache
def code_digest() -> str:
    """First 12 hex digits of a SHA-256 over the package's own source."""
    found = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def work_on(stage: str, config: Config | None, catalog: Catalog, split: Split | None, **more: str) -> Work:
    """The work of a job on a table.

    Args:
        stage: the job.
        config: resolved; None where `more` tells it.
        catalog: the table.
        split: its folds; None where they follow from the rest.
        more: what else counts, by a name for people with underscores.
    """
    parts = {"table": catalog.digest(), "pictures": _pictures(catalog), "code": code_digest()}
    parts["torch"] = torch.__version__
    if split is not None:
        parts["folds"] = split.digest()
    if config is not None:
        parts["configuration"] = config.fingerprint()
    return Work(stage, parts | {name.replace("_", " "): value for name, value in more.items()})


def _pictures(catalog: Catalog) -> str:
    """Sizes and times of the picture files: their content as far as it can be told without reading it."""
    found = hashlib.sha256()
    for names in catalog.rows.pictures:
        for name in names:
            with contextlib.suppress(OSError):
                state = (catalog.image_root / name).stat()
                found.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:12]


@dataclass(frozen=True)
class Found:
    """A run of the same work.

    Attributes:
        run: see there.
        is_finished: whether nothing is left to do.
    """

    run: Run
    is_finished: bool


def find_work(client: MlflowClient, experiment: str, work: Work, parent: str | None) -> Found | None:
    """The newest run of the same work that isn't finished; below a parent, that is finished too.

    Why an interrupted run can't be gone on with is said.

    Args:
        client: of the store.
        experiment: id.
        work: that is asked for.
        parent: id of the run that it lies below; None for runs of their own.
    """
    for run in _runs(client, experiment, work.stage, f" and tags.{Tag.WORK} = '{work.digest()}'", parent):
        if run.info.status == "FINISHED":
            if parent is None:
                return None
            return Found(run, is_finished=True)
        if run.info.status == "RUNNING":
            process = ProcessName.parse(run.data.tags.get(Tag.PROCESS, ""))
            if process is None or process.is_alive is not False:
                say(f"note: run {run.info.run_id} does the same right now ({process}); this is a run of its own")
                return None
        return Found(run, is_finished=False)
    if parent is None:
        _say_why_not(client, experiment, work)
    return None


def _say_why_not(client: MlflowClient, experiment: str, work: Work) -> None:
    """Where the newest run of this stage was interrupted: what is different now."""
    for run in _runs(client, experiment, work.stage, "", None):
        if run.info.status not in ("KILLED", "FAILED") or Tag.WORK_PARTS not in run.data.tags:
            return
        before = json.loads(run.data.tags[Tag.WORK_PARTS])
        changed = [name for name in (before | work.parts) if before.get(name) != work.parts.get(name)]
        why = run.data.tags.get(Tag.ERROR, "reason unknown")
        say(
            f"note: run {run.info.run_id} ended before it was finished ({why}); "
            f"this starts anew, since something else is asked for: {', '.join(changed)}"
        )
        return


def _runs(client: MlflowClient, experiment: str, stage: str, also: str, parent: str | None) -> Iterator[Run]:
    """Runs of a stage (not of folds), the newest first."""
    below = f" and tags.{Tag.PARENT} = '{parent}'" if parent else ""
    found = client.search_runs(
        [experiment], f"tags.{Tag.STAGE} = '{stage}'{also}{below}", order_by=["attributes.start_time DESC"]
    )
    for run in found:
        if run.data.tags.get(Tag.ROLE, "parent") == "parent" and (parent or Tag.PARENT not in run.data.tags):
            yield run


def nest(client: MlflowClient, run_id: str, goes_on: Run) -> None:
    """Show the run that `mlflow run` made for this start below the one that goes on, and let go of it."""
    tags = {
        Tag.STAGE: goes_on.data.tags[Tag.STAGE],
        Tag.ROLE: "start",
        Tag.PARENT: goes_on.info.run_id,
        Tag.RUN_NAME: f"{goes_on.data.tags[Tag.STAGE]}, started again",
        Tag.NOTE: f"Goes on with run {goes_on.info.run_id}.",
    }
    client.log_batch(run_id, tags=[RunTag(str(key), value) for key, value in tags.items()])
    environment.RUN_ID.unset()  # else the next run that is started would be this one


def states_folder(run_id: str) -> Path | None:
    """Where the states of a run's trainings lie, made here; None where nothing is to be kept, or nothing can be."""
    cache = open_cache()
    if not cache.limit:
        return None
    folder = cache.root / UNFINISHED / run_id
    if free_bytes(cache.root) < LITTLE:
        say(f"note: {cache.root}: no space left, so no state of the training is kept")
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        say(f"note: {folder}: {error.strerror}, so no state of the training is kept")
        return None
    return folder


def sweep_states(client: MlflowClient) -> None:
    """Delete states whose run is finished, or that nobody has come back to."""
    root = open_cache().root / UNFINISHED
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            is_over = bool(client.get_run(folder.name).info.status == "FINISHED")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            # of another store
            is_over = False
            with contextlib.suppress(OSError):  # another process has just deleted it
                is_over = folder.stat().st_mtime < time.time() - SWEEP_DAYS * DAY
        if is_over:
            shutil.rmtree(folder, ignore_errors=True)
