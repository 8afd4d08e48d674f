"""What every run in MLflow has, whatever its job: how it is opened, gone on with, filled and ended.

`mlflow run` makes a run before the script starts (MLFLOW_RUN_ID); elsewhere it is made here. Runs are recognised by
their tags: vocabulary.py. Those of a stage and its folds: stages.py. How runs are found: runs.py.
"""

import contextlib
import json
import signal
import subprocess
import warnings
from collections.abc import Iterator, Mapping, Sequence

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..config import Config
from ..data.catalog import Catalog
from ..errors import RunError
from ..runtime import environment, stopping
from ..runtime.process import this_process
from ..store.outputs import Delivery
from ..store.scratch import sweep
from .failure import FAILED, KILLED, reason_tags
from .liveness import Heartbeat, bury_dead, mark_killed
from .resuming import Found, Work, find_work, nest, sweep_states
from .runs import artifacts_of, current_experiment
from .store_errors import is_there_already
from .views import offer_views
from .vocabulary import CONFIG_PREFIX, Artifact, Tag

# MLflow cuts longer parameter values off by an error
MAX_PARAM = 6000


def find_stage(work: Work, *, resume: bool) -> Found | None:
    """The run of this work that goes on, or, below the job that is recorded now, that is finished; None for neither."""
    client = MlflowClient()
    clean_up(client)
    parent = _holders[-1] if _holders else None
    return find_work(client, current_experiment(client), work, parent) if resume else None


def find_part(work: Work) -> Found | None:
    """The finished run of this work below the job that is recorded now; None where there is none, or no such job."""
    client = MlflowClient()
    found = find_work(client, current_experiment(client), work, _holders[-1]) if _holders else None
    return found if found is not None and found.is_finished else None


def clean_up(client: MlflowClient) -> None:
    """Mark what killed processes left running, and delete what they left on the disk."""
    if not _holders:  # else it was done when the holder started
        sweep()
        sweep_states(client)
        dead = bury_dead(client, current_experiment(client))
        if dead:
            from .registry import drop_unnamed  # which loads what packs models

            for run_id in dead:
                drop_unnamed(client, run_id)


@contextlib.contextmanager
def record_scores(
    stage: str,
    name: str,
    tags: Mapping[Tag, str],
    catalog: Catalog | None = None,
    *,
    context: str = "inference",
    goes_on: Run | None = None,
) -> Iterator[Run]:
    """The run of another job: `infer`, `ensemble`, `register`, `batch`, `tune`, `demo`.

    Args:
        stage: the job.
        name: of the run.
        tags: of the run.
        catalog: logged as its dataset.
        context: what the dataset is for.
        goes_on: a run that was interrupted; None for that of the environment, or a new one.
    """
    with start_run(name, {Tag.STAGE: stage, Tag.GIT_DIRTY: git_dirty()} | dict(tags), goes_on) as active:
        if catalog is not None:
            set_tags({Tag.FINGERPRINT: catalog.digest()})
            log_dataset(catalog, context)
        yield active
        if catalog is not None:  # the UI shows metrics in the order in which they were logged
            log_data_facts(catalog)


def store_files(run: Run, made: Delivery, config: str) -> None:
    """Store result files in a run, which has them then, whatever becomes of the user's own folder.

    Args:
        run: that is being recorded.
        made: the files.
        config: stored with them as YAML; "" for none.
    """
    made.is_whole = True
    mlflow.log_artifacts(str(made.folder), run_id=run.info.run_id)
    if config:
        mlflow.log_text(config, Artifact.CONFIG, run_id=run.info.run_id)
    made.kept = f"The result is safe in run {run.info.run_id}, {artifacts_of(run)}"


def rename(name: str) -> None:
    """Name the active run anew."""
    set_tags({Tag.RUN_NAME: name})


def describe(text: str) -> None:
    """Make a text, Markdown, the description of the active run."""
    set_tags({Tag.NOTE: text})


def log_text(text: str, name: Artifact) -> None:
    """Keep a text as a file of the active run."""
    mlflow.log_text(text, str(name))


def log_facts(tags: Mapping[Tag, str], metrics: Mapping[str, float]) -> None:
    """Tags and metrics of the active run."""
    set_tags(tags)
    log_metrics(metrics)


@contextlib.contextmanager
def record_several(stage: str, name: str, tags: Mapping[Tag, str], goes_on: Run | None = None) -> Iterator[Run]:
    """The run of a job that runs others: those recorded within the block become its children.

    Args:
        stage: the job.
        name: of the run.
        tags: of the run.
        goes_on: see `record_scores`.
    """
    with start_run(name, {Tag.STAGE: stage, Tag.GIT_DIRTY: git_dirty()} | dict(tags), goes_on) as active:
        _holders.append(active.info.run_id)
        try:
            yield active
        finally:
            _holders.pop()


# runs of which those started now become children
_holders: list[str] = []


def is_part() -> bool:
    """Whether what is recorded now belongs to another job, which says itself where it is seen."""
    return bool(_holders)


@contextlib.contextmanager
def start_run(name: str, tags: Mapping[Tag, str], goes_on: Run | None) -> Iterator[Run]:
    """A run of a job: on its own, or below one of `_holders`; see `active_run`."""
    before = mlflow.active_run()
    if before is not None and before.info.run_id not in _holders:
        raise RunError(f"MLflow: run {before.info.run_id} is active here; end it first, by mlflow.end_run()")
    client = MlflowClient()
    clean_up(client)
    given = environment.RUN_ID.get()
    if goes_on is not None and given and given != goes_on.info.run_id:
        nest(client, given, goes_on)
    nested = before is not None
    with contextlib.ExitStack() as stack:
        active = stack.enter_context(active_run(name, tags, goes_on, nested=nested))
        if not nested:
            offer_views(client, active.info.experiment_id)
            stack.enter_context(Heartbeat(active.info.run_id))
        yield active


# runs that are recorded now, the innermost last
_open: list[str] = []


@contextlib.contextmanager
def active_run(name: str, tags: Mapping[Tag, str], goes_on: Run | None, *, nested: bool) -> Iterator[Run]:
    """A run while it is recorded: FAILED, or KILLED where the process is asked to end, if left by an exception."""
    run_id = None if goes_on is None else goes_on.info.run_id
    # else eight figures of the machine stand before the first of the model
    machine = not nested and environment.SYSTEM_METRICS.get().lower() in ("true", "1")
    known: dict[Tag, str] = {Tag.PROCESS: str(this_process()), Tag.RUN_NAME: name, **tags}
    made_with = None
    if run_id is None:  # a kill leaves no run that nobody can tell the fold of
        made_with = {str(tag): value for tag, value in known.items()}
    with mlflow.start_run(run_id, run_name=name, nested=nested, tags=made_with, log_system_metrics=machine) as active:
        set_tags(known)  # of one that goes on, or that `mlflow run` made, with a random name
        if Tag.ERROR in active.data.tags:  # why it was interrupted
            for tag in (Tag.ERROR, Tag.NOTE):
                MlflowClient().delete_tag(active.info.run_id, str(tag))
        _open.append(active.info.run_id)
        try:
            yield active
        except (KeyboardInterrupt, SystemExit) as error:
            mark_killed(MlflowClient(), active.info.run_id, _reason(error))
            with contextlib.suppress(Exception):
                mlflow.end_run(KILLED)
            raise
        except BaseException as error:
            with contextlib.suppress(Exception):  # the store may be what failed
                reason = f"{type(error).__name__}: {error}"
                MlflowClient().log_batch(active.info.run_id, tags=reason_tags(FAILED, reason))
            raise
        finally:
            _open.remove(active.info.run_id)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return stopping.reason(signal.SIGINT)
    by_signal = error.args == (stopping.TERMINATED,)
    return stopping.reason(signal.SIGTERM) if by_signal else f"{type(error).__name__}: {error}"


def end_open_runs(words: str) -> None:
    """Mark all runs that are recorded now as killed: the last words of a process that has no time left."""
    for run_id in reversed(_open):
        mark_killed(MlflowClient(), run_id, words)


def set_tags(tags: Mapping[Tag, str]) -> None:
    """Tags of the active run."""
    mlflow.set_tags({str(tag): value for tag, value in tags.items()})  # a store may not take a subclass of str


def log_metrics(metrics: Mapping[str, float], step: int | None = None, run_id: str | None = None) -> None:
    """Metrics of a run, by default of the active one."""
    mlflow.log_metrics({str(name): value for name, value in metrics.items()}, step=step, run_id=run_id)


def log_config(config: Config) -> None:
    """Config values under `cfg/`: `mlflow run` logs its own parameters, shell-quoted, under their plain names."""
    mlflow.log_params({CONFIG_PREFIX + key: str(value)[:MAX_PARAM] for key, value in config.flat().items()})


def log_data_facts(catalog: Catalog) -> None:
    """Counts of a catalogue as metrics of the active run."""
    log_metrics({f"data/{name}": value for name, value in catalog.summary().items()})


def log_dataset(catalog: Catalog, context: str) -> None:
    """A catalogue as the dataset of the active run: its ids, texts, first pictures and labels."""
    rows, path = catalog.rows, catalog.table_path
    columns: dict[str, Sequence[object]] = {"id": rows.ids, "text": rows.texts}
    columns["picture"] = [names[0] if names else "" for names in rows.pictures]
    if catalog.labels is not None:
        columns["label"] = catalog.labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice about the schema of integer columns and the like
        dataset = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            pd.DataFrame(columns),
            source=str(path.resolve()) if path else None,
            targets="label" if catalog.labels is not None else None,
            name=catalog.short_name,
            digest=catalog.digest(),
        )
        try:
            mlflow.log_input(dataset, context=context)
        except MlflowException as error:
            if not is_there_already(error):
                raise
            mlflow.log_input(dataset, context=context)  # which finds what another process stored meanwhile


def git_dirty() -> str:
    """Say "true" where the checkout has changes that no commit holds, "unknown" outside one."""
    try:
        command = ["git", "status", "--porcelain"]
        status = subprocess.run(command, capture_output=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return json.dumps(bool(status.stdout.strip()))
