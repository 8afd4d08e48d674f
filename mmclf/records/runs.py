"""Runs and their artifacts, found again in MLflow; how they are recorded stands in tracking.py and stages.py."""

import contextlib
import logging
import shutil
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..errors import RunError
from ..evaluation.probabilities import ProbabilityTable, read_table
from ..model.checkpoint import ALL_ROWS, META, Checkpoint, open_checkpoint
from ..runtime import environment
from ..store.scratch import make_scratch
from .store import connect as connect  # noqa: PLC0414 - who looks for runs opens the store first
from .store import named_experiment
from .store_errors import is_missing, store_name, without_passwords
from .vocabulary import CONFIG_PREFIX, Artifact, Tag


def current_experiment(client: MlflowClient) -> str:
    """Id of the experiment that a run started now belongs to.

    Raises:
        RunError: the run or experiment that the environment names doesn't exist.
    """
    run_id = environment.RUN_ID.get()
    if run_id:
        return str(get_run(client, run_id).info.experiment_id)
    if environment.EXPERIMENT_ID.get():
        return environment.EXPERIMENT_ID.get()
    name = environment.EXPERIMENT_NAME.get()
    return named_experiment(client, name) if name else "0"


def here(client: MlflowClient) -> str:
    """The experiment of new runs and its store, for messages."""
    name = client.get_experiment(current_experiment(client)).name
    return f"experiment {name!r} of the store {store_name()}"


def get_run(client: MlflowClient, run_id: str) -> Run:
    """A run by its id.

    Raises:
        RunError: there is no such run in the store.
    """
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if not is_missing(error):
            raise
        raise RunError(
            f"run {run_id!r}: not in the store {store_name()}; copy the id from `mlflow ui`, or leave the "
            "option out to take the newest one that fits"
        ) from None


def get_stage_run(client: MlflowClient, run_id: str, stages: Sequence[str]) -> Run:
    """A finished parent run of one of these stages.

    Raises:
        RunError: no such run, of another kind, or not finished.
    """
    run = get_run(client, run_id)
    stage = run.data.tags.get(Tag.STAGE, "")
    if stage not in stages or run.data.tags.get(Tag.ROLE, "parent") != "parent":
        kind = "a fold of " + stage if run.data.tags.get(Tag.ROLE) == "fold" else stage or "no run of mmclf"
        raise RunError(f"run {run_id}: is {kind}; give a run of {' or '.join(stages)}")
    if run.info.status != "FINISHED":
        raise RunError(f"run {run_id}: is {run.info.status.lower()}, not finished; run it again or choose another")
    return run


def newest_runs(client: MlflowClient, experiment: str, stage: str) -> Iterator[Run]:
    """Finished runs of a stage (its parents), the newest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.{Tag.STAGE} = '{stage}' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from (run for run in page if run.data.tags.get(Tag.ROLE, "parent") == "parent")
        token = page.token
        if not token:
            return


def fold_checkpoints(client: MlflowClient, parent: Run, fold: int | None = None) -> list[Checkpoint]:
    """The best checkpoints of a stage run's finished folds, in the order of the folds.

    Args:
        client: of the store.
        parent: a stage1 or stage2 run.
        fold: only this one.

    Raises:
        RunError: it has no finished fold, or not this one.
        CheckpointError: a checkpoint can't be read.
    """
    found: dict[int, Checkpoint] = {}
    for child in finished_folds(client, parent.info.run_id):
        number = int(child.data.tags[Tag.FOLD])
        if number not in found and fold in (None, number):
            found[number] = open_checkpoint(artifact_path(child, Artifact.CHECKPOINT, META))
    if not found:
        wanted = "finished folds" if fold is None else f"finished fold {fold}"
        raise RunError(f"run {parent.info.run_id}: has no {wanted}")
    return [found[number] for number in sorted(found)]


def serving_checkpoints(client: MlflowClient, parent: Run, fold: int | None = None) -> list[Checkpoint]:
    """What a stage run serves: the model that all rows trained, where there is one, else the folds' models.

    Args:
        client: of the store.
        parent: a stage1 or stage2 run.
        fold: only this one, whatever else there is.

    Raises:
        RunError, CheckpointError: as `fold_checkpoints`.
    """
    found = _children(client, parent.info.run_id, ALL_ROWS) if fold is None else []
    if found:
        return [open_checkpoint(artifact_path(found[0], Artifact.CHECKPOINT, META))]
    return fold_checkpoints(client, parent, fold)


def read_left_out(client: MlflowClient, parent: Run) -> ProbabilityTable | None:
    """The training rows, each scored by a model of all others, where a stage run has that; without folds.

    Raises:
        RunError: it can't be read.
    """
    for child in _children(client, parent.info.run_id, ALL_ROWS)[:1]:
        if any(file.path == Artifact.LEFT_OUT for file in client.list_artifacts(child.info.run_id)):
            return read_table(artifact_path(child, Artifact.LEFT_OUT))
    return None


def run_config(run: Run) -> dict[str, str]:
    """The configuration that was recorded with a run: dotted keys and values as texts."""
    found = run.data.params.items()
    return {key.removeprefix(CONFIG_PREFIX): value for key, value in found if key.startswith(CONFIG_PREFIX)}


def split_ids(text: str) -> list[str]:
    """Ids that are separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def finished_folds(client: MlflowClient, run_id: str) -> list[Run]:
    """The finished fold runs of a stage run, the newest first."""
    return _children(client, run_id, "fold")


def _children(client: MlflowClient, run_id: str, role: str) -> list[Run]:
    found = client.search_runs(
        [client.get_run(run_id).info.experiment_id],
        f"tags.{Tag.PARENT} = '{run_id}' and tags.{Tag.ROLE} = '{role}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1000,
    )
    return list(found)


def artifact_path(run: Run, name: str, *members: str) -> Path:
    """Where an artifact of a run lies on this machine: in place in a local store, else downloaded.

    `download_artifacts` copies even a local artifact to a temporary folder that nobody deletes (1.7 GB for
    each ViT-L/14 checkpoint), so local ones are opened where they are, and downloads go to one folder that
    lasts as long as the process.

    Args:
        run: the run.
        name: path of the artifact in the run.
        members: files that must be there, if `name` is a folder.

    Raises:
        RunError: the artifact isn't there.
    """
    base = local_path(run.info.artifact_uri)
    if base is not None:
        path = base / name
    else:
        try:
            path = Path(
                mlflow.artifacts.download_artifacts(
                    run_id=run.info.run_id, artifact_path=name, dst_path=str(download_folder() / run.info.run_id)
                )
            )
        except Exception as error:  # every artifact store raises its own
            reason = without_passwords(str(error))[:300]
            raise RunError(f"run {run.info.run_id}: {name} can't be downloaded: {reason}") from None
    for file in [path, *(path / member for member in members)]:
        if not file.exists():
            raise RunError(
                f"run {run.info.run_id}: its artifact {file} is missing; was the run folder moved or cleaned?"
            )
    return path


def artifact_folder(client: MlflowClient, run_id: str) -> Path | None:
    """The folder of this machine that a run's artifacts go to; None where they go elsewhere."""
    return local_path(client.get_run(run_id).info.artifact_uri)


def artifacts_of(run: Run) -> str:
    """Where a run's artifacts lie, for people: a folder of this machine, or an address."""
    return str(local_path(run.info.artifact_uri) or store_name(run.info.artifact_uri))


def local_path(uri: str) -> Path | None:
    """The folder that an artifact URI names on this machine; None where it is elsewhere."""
    parts = urllib.parse.urlparse(uri)
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme in ("", "file") else None


_downloads: list[Path] = []


def download_folder() -> Path:
    """Where downloads go; it is deleted when the process ends."""
    if not _downloads:
        import atexit

        _downloads.append(make_scratch())
        atexit.register(shutil.rmtree, _downloads[0], ignore_errors=True)
    return _downloads[0]


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """MLflow's advice about what is as it should be, and its bars for local copies, stay off the terminal."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "mlflow.pyfunc", "mlflow.models.model")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with environment.ARTIFACTS_BAR.held("false"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
