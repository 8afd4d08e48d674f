"""What is kept in MLflow: runs of the stages, of infer, ensemble and register. How they are found: runs.py.

A stage is a parent run with one child run per fold. `mlflow run` makes the parent before the script starts
(MLFLOW_RUN_ID); elsewhere it is made here. Runs are recognised by their tags: vocabulary.py.
"""

import contextlib
import json
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from ..config import Config
from ..data.catalog import Catalog
from ..data.folds import Split
from ..errors import RunError
from ..evaluation.crossvalidation import Figures, figures_of
from ..evaluation.probabilities import ProbabilityTable, join_folds, read_table
from ..model.checkpoint import ALL_ROWS
from ..model.identity import BackboneIdentity
from ..reporting.evidence import FoldHistory
from ..runtime import environment, stopping
from ..runtime.process import this_process
from ..store.outputs import Delivery
from ..store.scratch import scratch_folder, sweep
from ..training.epoch import EpochResult
from ..training.history import VAL_TOP1, curves, read_history, write_history, write_tensorboard
from .liveness import KILLED, Heartbeat, bury_dead, mark_killed
from .resuming import Found, Work, find_work, nest, sweep_states
from .runs import artifact_path, artifacts_of, current_experiment, finished_folds, get_run
from .vocabulary import CONFIG_PREFIX, Artifact, Metric, Tag, show_backbone

# MLflow cuts longer parameter values off by an error
MAX_PARAM = 6000


@dataclass
class FoldRecord:
    """The child run of one fold, while it is trained.

    Attributes:
        run_id: of it.
        fold: number of the fold.
        logged: epochs that are logged already, by a process that was interrupted.
        results: of the epochs so far.
        table: of the rows that it holds out, once it is finished.
    """

    run_id: str
    fold: int
    logged: int = 0
    results: list[EpochResult] = field(default_factory=list)
    table: ProbabilityTable | None = None

    def epoch(self, result: EpochResult) -> None:
        """Log the curves of an epoch, and the best figures so far."""
        self.results.append(result)
        if result.epoch <= self.logged:
            return
        _log_metrics(curves(result), step=result.epoch, run_id=self.run_id)
        if result.is_best:
            best: dict[str, float] = {Metric.BEST_TOP1: result.val_top1, Metric.BEST_TOP3: result.val_top3}
            _log_metrics(best | {Metric.BEST_EPOCH: result.epoch}, run_id=self.run_id)

    def finish(self, checkpoint: Path, table: ProbabilityTable, unreadable: Sequence[str]) -> None:
        """Store the best checkpoint, the out-of-fold probabilities and the history."""
        self.table = table
        _log_metrics({Metric.UNREADABLE: len(unreadable)}, run_id=self.run_id)
        with scratch_folder() as folder:
            write_history(folder / Artifact.HISTORY, self.results)
            table.write(folder / Artifact.OOF)
            write_tensorboard(folder / Artifact.TENSORBOARD, self.results)
            mlflow.log_artifacts(str(folder), run_id=self.run_id)
        mlflow.log_artifacts(str(checkpoint), Artifact.CHECKPOINT, run_id=self.run_id)


@dataclass
class StageRecord:
    """The parent run of a stage, while it runs.

    Attributes:
        run_id: of it.
        name: of it.
        stage: "stage1" or "stage2".
        config: resolved.
        tags: that its folds have too.
        before: folds' runs of a process that was interrupted, the newest of each first.
        folds: that were trained here.
        summaries: of all finished folds, once `finish` was called.
        started: when, by the performance counter.
    """

    run_id: str
    name: str
    stage: str
    config: Config
    tags: dict[Tag, str]
    before: list[Run] = field(default_factory=list)
    folds: list[FoldRecord] = field(default_factory=list)
    summaries: Sequence["FoldSummary"] = ()
    started: float = field(default_factory=time.perf_counter)

    @property
    def finished(self) -> set[int]:
        """Numbers of the folds that need no training any more."""
        return {int(run.data.tags[Tag.FOLD]) for run in self.before if _is_finished_fold(run)}

    @property
    def has_all_rows(self) -> bool:
        """Whether the model of all rows is there."""
        return any(run.data.tags[Tag.ROLE] == ALL_ROWS and run.info.status == "FINISHED" for run in self.before)

    @contextlib.contextmanager
    def fold(self, number: int) -> Iterator[FoldRecord]:
        """A child run for a fold, or the one that was interrupted."""
        client = MlflowClient()
        before = next((run for run in self.before if run.data.tags.get(Tag.FOLD) == str(number)), None)
        tags = self.tags | {Tag.ROLE: "fold", Tag.FOLD: str(number)}
        with _active(f"{self.stage} fold {number}", before, nested=True) as active:
            _set_tags(tags)
            _log_config(self.config)
            record = FoldRecord(active.info.run_id, number)
            if before is not None:
                history = client.get_metric_history(before.info.run_id, VAL_TOP1)
                record.logged = max((point.step for point in history), default=0)
            yield record
            self.folds.append(record)

    @contextlib.contextmanager
    def all_rows(self, checkpoint: Path) -> Iterator[None]:
        """A child run, as `fold`, for the model of all rows, whose checkpoint is stored when the block ends well."""
        before = next((run for run in self.before if run.data.tags[Tag.ROLE] == ALL_ROWS), None)
        with _active(f"{self.stage} all rows", before, nested=True) as active:
            _set_tags(self.tags | {Tag.ROLE: ALL_ROWS})
            _log_config(self.config)
            yield
            mlflow.log_artifacts(str(checkpoint), Artifact.CHECKPOINT, run_id=active.info.run_id)

    def finish(self, catalog: Catalog) -> dict[str, Any]:
        """Store the out-of-fold matrix and the figures over the folds; returns the headline figures.

        Folds that other processes add to the same run count too. Whoever finishes last has seen them all: a summary
        is written again when a fold was finished meanwhile.
        """
        client = MlflowClient()
        others = self._others(client)
        while True:
            figures = self._summarise(catalog, [*(_summary(fold) for fold in self.folds), *others.values()])
            seen = set(others)
            others = self._others(client)
            if set(others) == seen:
                return figures

    def _others(self, client: MlflowClient) -> dict[str, "FoldSummary"]:
        """The finished folds of this run that other processes trained, the newest run of each, by run id."""
        own = {fold.fold for fold in self.folds}
        found: dict[int, tuple[str, FoldSummary]] = {}
        for child in finished_folds(client, self.run_id):
            number = int(child.data.tags[Tag.FOLD])
            if number not in own and number not in found:
                found[number] = child.info.run_id, _stored_summary(child)
        return dict(found.values())

    def _summarise(self, catalog: Catalog, folds: Sequence["FoldSummary"]) -> dict[str, Any]:
        self.summaries = folds = sorted(folds, key=lambda fold: fold.fold)
        joined = join_folds([fold.table for fold in folds], catalog.ids)
        figures = figures_of(joined)
        seconds = time.perf_counter() - self.started
        _log_metrics(cv_metrics(figures) | {Metric.SECONDS: seconds}, run_id=self.run_id)
        with scratch_folder() as folder:
            joined.write(folder / Artifact.OOF)
            mlflow.log_artifacts(str(folder), run_id=self.run_id)
        numbers = ",".join(str(fold.fold) for fold in folds)
        _set_tags({Tag.FOLDS: numbers, Tag.NOTE: _fold_note(folds, figures)})
        found: dict[str, Any] = {"run_id": self.run_id}
        if figures.is_single:
            [fold] = figures.folds
            found |= {"top1": fold.top1, "top3": fold.top3, "fold": fold.fold}
        else:
            found |= {"cv_top1_mean": figures.top1_mean, "cv_top1_std": figures.top1_std}
            found |= {"cv_top3_mean": figures.top3_mean}
        return found | {"folds": len(folds), "seconds": round(seconds, 1)}


@dataclass(frozen=True)
class FoldSummary:
    """A finished fold: its curves and its rows."""

    history: FoldHistory
    table: ProbabilityTable

    @property
    def fold(self) -> int:
        """Its number."""
        return self.history.fold


def cv_metrics(figures: Figures) -> dict[str, float]:
    """The metrics of a run under `cv/`; none for a single fold, which is no cross-validation."""
    if figures.is_single:
        return {}
    return {
        Metric.CV_TOP1_MEAN: figures.top1_mean,
        Metric.CV_TOP1_STD: figures.top1_std,
        Metric.CV_TOP3_MEAN: figures.top3_mean,
        Metric.CV_OOF_TOP1: figures.oof_top1,
        Metric.CV_OOF_TOP3: figures.oof_top3,
        Metric.CV_MACRO_F1: figures.macro_f1,
        Metric.CV_CALIBRATION_ERROR: figures.calibration_error,
        Metric.CV_LOSS: figures.loss,
    }


def _summary(record: FoldRecord) -> FoldSummary:
    assert record.table is not None  # noqa: S101 - set by `finish`
    train_loss, val_loss, val_top1 = zip(*((r.train_loss, r.val_loss, r.val_top1) for r in record.results), strict=True)
    return FoldSummary(FoldHistory(record.fold, train_loss, val_loss, val_top1), record.table)


def _stored_summary(child: Run) -> FoldSummary:
    found = read_history(artifact_path(child, Artifact.HISTORY))
    history = FoldHistory(int(child.data.tags[Tag.FOLD]), found["train_loss"], found["val_loss"], found["val_acc"])
    return FoldSummary(history, read_table(artifact_path(child, Artifact.OOF)))


def finished_stage(found: Found) -> dict[str, Any]:
    """The headline figures of a stage's run that is finished, as `StageRecord.finish` gave them."""
    metrics, tags = found.run.data.metrics, found.run.data.tags
    names = (Metric.CV_TOP1_MEAN, Metric.CV_TOP1_STD, Metric.CV_TOP3_MEAN)
    figures: dict[str, Any] = {"run_id": found.run.info.run_id}
    figures |= {name.replace("/", "_"): metrics[name] for name in names if name in metrics}
    folds = len(tags[Tag.FOLDS].split(","))
    return figures | {"folds": folds, "seconds": round(metrics[Metric.SECONDS], 1)}


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
        bury_dead(client, current_experiment(client))


@contextlib.contextmanager
def record_stage(
    stage: str,
    config: Config,
    split: Split,
    backbone: BackboneIdentity,
    extra: Mapping[Tag, str] | None = None,
    *,
    goes_on: Run | None = None,
) -> Iterator[StageRecord]:
    """The parent run of stage1 or stage2; FAILED or KILLED, with the reason as tag `error`, if left by an exception.

    Args:
        stage: "stage1" or "stage2".
        config: resolved; logged under `cfg/` and as `config.yaml`.
        split: the catalogue, logged as the run's dataset, and its folds.
        backbone: that is trained, or whose features are.
        extra: further tags, for example the stage-1 run that a stage-2 run starts from.
        goes_on: a run of the same work that was interrupted; None for a new one.

    Raises:
        RunError: MLFLOW_RUN_ID names a run that was begun with other data or settings, or another run is active.
    """
    catalog = split.catalog
    tags: dict[Tag, str] = {
        Tag.STAGE: stage,
        Tag.SPLIT: split.digest(),
        Tag.BACKBONE: show_backbone(backbone.name, backbone.pretrained),
        Tag.WEIGHTS: backbone.weights_sha256,
        Tag.FINGERPRINT: catalog.digest(),
        Tag.CONFIG_ID: config.fingerprint(),
        Tag.GIT_DIRTY: _git_dirty(),
    }
    extra = dict(extra or {})
    of_parent = {tag: extra.pop(tag) for tag in (Tag.WORK, Tag.WORK_PARTS) if tag in extra}
    tags |= extra
    _check_resumed(tags)
    head = "" if config.model.head == "mlp" else f" {config.model.head}"
    name = f"{stage}{head} {tags[Tag.BACKBONE]}"
    with _start_run(name, goes_on) as active:
        _set_tags(tags | of_parent | {Tag.ROLE: "parent", Tag.IMAGES: str(catalog.image_root.resolve())})
        if catalog.table_path is not None:
            _set_tags({Tag.CSV: str(catalog.table_path.resolve())})
        _log_config(config)
        _log_metrics({f"data/{name}": value for name, value in catalog.summary().items()})
        mlflow.log_text(config.to_yaml(), Artifact.CONFIG)
        _log_dataset(catalog, "training")
        before = [] if goes_on is None else _children(active)
        yield StageRecord(active.info.run_id, name, stage, config, tags, before)


def _children(parent: Run) -> list[Run]:
    """The runs below a stage's, the finished before the others, the newest first."""
    found = MlflowClient().search_runs(
        [parent.info.experiment_id],
        f"tags.{Tag.PARENT} = '{parent.info.run_id}' and tags.{Tag.ROLE} != 'start'",
        order_by=["attributes.start_time DESC"],
        max_results=1000,
    )
    return sorted(found, key=lambda run: run.info.status != "FINISHED")


def _is_finished_fold(run: Run) -> bool:
    return run.data.tags[Tag.ROLE] == "fold" and run.info.status == "FINISHED"


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
    with _start_run(name, goes_on) as active:
        _set_tags({Tag.STAGE: stage, Tag.GIT_DIRTY: _git_dirty()} | dict(tags))
        if catalog is not None:
            _set_tags({Tag.FINGERPRINT: catalog.digest()})
            _log_metrics({f"data/{key}": value for key, value in catalog.summary().items()})
            _log_dataset(catalog, context)
        yield active


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


def describe(text: str) -> None:
    """Make a text, Markdown, the description of the active run."""
    _set_tags({Tag.NOTE: text})


def log_text(text: str, name: Artifact) -> None:
    """Keep a text as a file of the active run."""
    mlflow.log_text(text, str(name))


def log_facts(tags: Mapping[Tag, str], metrics: Mapping[str, float]) -> None:
    """Tags and metrics of the active run."""
    _set_tags(tags)
    _log_metrics(metrics)


@contextlib.contextmanager
def record_several(stage: str, name: str, tags: Mapping[Tag, str], goes_on: Run | None = None) -> Iterator[Run]:
    """The run of a job that runs others: those recorded within the block become its children.

    Args:
        stage: the job.
        name: of the run.
        tags: of the run.
        goes_on: see `record_scores`.
    """
    with _start_run(name, goes_on) as active:
        _set_tags({Tag.STAGE: stage, Tag.GIT_DIRTY: _git_dirty()} | dict(tags))
        _holders.append(active.info.run_id)
        try:
            yield active
        finally:
            _holders.pop()


# runs of which those started now become children
_holders: list[str] = []


@contextlib.contextmanager
def _start_run(name: str, goes_on: Run | None = None) -> Iterator[Run]:
    """A run of a job: on its own, or below one of `_holders`."""
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
        active = stack.enter_context(_active(name, goes_on, nested=nested))
        _set_tags({Tag.RUN_NAME: name})  # a run that `mlflow run` made has a random name
        if not nested:
            stack.enter_context(Heartbeat(active.info.run_id))
        yield active


# runs that are recorded now, the innermost last
_open: list[str] = []


@contextlib.contextmanager
def _active(name: str, goes_on: Run | None, *, nested: bool) -> Iterator[Run]:
    """A run while it is recorded: FAILED, or KILLED where the process is asked to end, if left by an exception."""
    run_id = None if goes_on is None else goes_on.info.run_id
    with mlflow.start_run(run_id, run_name=name, nested=nested, log_system_metrics=not nested) as active:
        _set_tags({Tag.PROCESS: str(this_process())})
        if goes_on is not None and Tag.ERROR in goes_on.data.tags:  # why it was interrupted
            MlflowClient().delete_tag(active.info.run_id, str(Tag.ERROR))
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
                _set_tags({Tag.ERROR: f"{type(error).__name__}: {error}"[:5000]})
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


def _set_tags(tags: Mapping[Tag, str]) -> None:
    mlflow.set_tags({str(tag): value for tag, value in tags.items()})  # a store may not take a subclass of str


def _log_metrics(metrics: Mapping[str, float], step: int | None = None, run_id: str | None = None) -> None:
    mlflow.log_metrics({str(name): value for name, value in metrics.items()}, step=step, run_id=run_id)


def _check_resumed(tags: Mapping[Tag, str]) -> None:
    """A run that has folds already, of an earlier or another process, must be of the same data and settings."""
    run_id = environment.RUN_ID.get()
    before = get_run(MlflowClient(), run_id).data.tags if run_id else {}
    names = {
        Tag.STAGE: "stage",
        Tag.SPLIT: "rows or folds",
        Tag.WEIGHTS: "backbone",
        Tag.CONFIG_ID: "configuration",
    }
    for tag, name in names.items():
        if tag in before and before[tag] != tags[tag]:
            raise RunError(
                f"MLFLOW_RUN_ID: run {run_id} was begun with another {name} ({before[tag]} there, "
                f"{tags[tag]} here); folds of one run must share it"
            )


def _log_config(config: Config) -> None:
    """Config values under `cfg/`: `mlflow run` logs its own parameters, shell-quoted, under their plain names."""
    mlflow.log_params({CONFIG_PREFIX + key: str(value)[:MAX_PARAM] for key, value in config.flat().items()})


def _log_dataset(catalog: Catalog, context: str) -> None:
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
        mlflow.log_input(dataset, context=context)


def _fold_note(folds: Sequence[FoldSummary], figures: Figures) -> str:
    """The description of the parent run, Markdown: the mean first, since the UI hides what is further down."""
    lines = ["| fold | best epoch | top-1 | top-3 |", "| --- | --- | --- | --- |"]
    if not figures.is_single:
        mean, std = figures.top1_mean, figures.top1_std
        lines.append(f"| mean | | **{mean:.4f}** ± {std:.4f} | {figures.top3_mean:.4f} |")
    for fold, reached in zip(folds, figures.folds, strict=True):
        best = f"{fold.history.best} of {fold.history.epochs}"
        lines.append(f"| {fold.fold} | {best} | {reached.top1:.4f} | {reached.top3:.4f} |")
    return "\n".join(lines)


def _git_dirty() -> str:
    """Say "true" where the checkout has changes that no commit holds, "unknown" outside one."""
    try:
        command = ["git", "status", "--porcelain"]
        status = subprocess.run(command, capture_output=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return json.dumps(bool(status.stdout.strip()))
