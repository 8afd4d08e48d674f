"""The runs of a stage in MLflow: a parent with one child run per fold, their curves, checkpoints and figures.

What every run has, whatever its job: tracking.py.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
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
from ..runtime import environment
from ..store.scratch import scratch_folder
from ..training.epoch import EpochResult
from ..training.history import VAL_TOP1, curves, read_history, write_history, write_tensorboard
from .card import markdown_table
from .naming import fold_name, named, stage_name, with_result
from .notes import compose
from .resuming import Found
from .runs import artifact_path, finished_folds, get_run
from .tracking import active_run, git_dirty, log_config, log_data_facts, log_dataset, log_metrics, set_tags, start_run
from .vocabulary import Artifact, Metric, Tag, show_backbone


@dataclass
class FoldRecord:
    """The child run of one fold, while it is trained.

    Attributes:
        run_id: of it.
        name: of it, without what was reached.
        fold: number of the fold.
        logged: epochs that are logged already, by a process that was interrupted.
        results: of the epochs so far.
        table: of the rows that it holds out, once it is finished.
    """

    run_id: str
    name: str
    fold: int
    logged: int = 0
    results: list[EpochResult] = field(default_factory=list)
    table: ProbabilityTable | None = None

    def epoch(self, result: EpochResult) -> None:
        """Log the curves of an epoch, and the best figures so far."""
        self.results.append(result)
        if result.epoch <= self.logged:
            return
        if result.is_best:
            best: dict[str, float] = {Metric.BEST_TOP1: result.val_top1, Metric.BEST_TOP3: result.val_top3}
            log_metrics(best | {Metric.BEST_EPOCH: result.epoch}, run_id=self.run_id)
        log_metrics(curves(result), step=result.epoch, run_id=self.run_id)

    def finish(self, checkpoint: Path, table: ProbabilityTable, unreadable: Sequence[str]) -> None:
        """Store the best checkpoint, the out-of-fold probabilities and the history."""
        self.table = table
        figures = figures_of(table)
        name, note = with_result(self.name, figures.top1_mean), f"**top-1 {figures.top1_mean:.4f}**, top-3 "
        set_tags({Tag.RUN_NAME: name, Tag.NOTE: f"{note}{figures.top3_mean:.4f} of {len(table):,} held-out rows"})
        log_metrics({Metric.UNREADABLE: len(unreadable)}, run_id=self.run_id)
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
        name: of it, with what was reached once `finish` was called.
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
        name = fold_name(self.stage, self.config, f"fold {number}")
        with active_run(name, tags, before, nested=True) as active:
            log_config(self.config)
            record = FoldRecord(active.info.run_id, name, number)
            if before is not None:
                history = client.get_metric_history(before.info.run_id, VAL_TOP1)
                record.logged = max((point.step for point in history), default=0)
            yield record
            self.folds.append(record)

    @contextlib.contextmanager
    def all_rows(self, checkpoint: Path) -> Iterator[Callable[[ProbabilityTable], None]]:
        """A child run, as `fold`, for the model of all rows, whose checkpoint is stored when the block ends well.

        Yields:
            What to call with the training rows' probabilities, each by a model of the others, if there are such.
        """
        before = next((run for run in self.before if run.data.tags[Tag.ROLE] == ALL_ROWS), None)
        name, tags = fold_name(self.stage, self.config, "all rows"), self.tags | {Tag.ROLE: ALL_ROWS}
        with active_run(name, tags, before, nested=True) as active:
            log_config(self.config)
            yield partial(_store_table, run_id=active.info.run_id, name=Artifact.LEFT_OUT)
            mlflow.log_artifacts(str(checkpoint), Artifact.CHECKPOINT, run_id=active.info.run_id)
            set_tags({Tag.NOTE: "The model that is served: trained on all rows, so no row is left to judge it by."})

    def finish(self, catalog: Catalog, commands: Sequence[str] = ()) -> dict[str, Any]:
        """Store the out-of-fold matrix and the figures over the folds; returns the headline figures.

        Folds that other processes add to the same run count too. Whoever finishes last has seen them all: a summary
        is written again when a fold was finished meanwhile.

        Args:
            catalog: that was trained on.
            commands: what can be done next, for the description.
        """
        name = self.name
        client = MlflowClient()
        others = self._others(client)
        while True:
            folds = [*(_summary(fold) for fold in self.folds), *others.values()]
            figures = self._summarise(catalog, folds, name, commands)
            seen = set(others)
            others = self._others(client)
            if set(others) == seen:
                log_data_facts(catalog)  # the UI shows metrics in the order in which they were logged
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

    def _summarise(
        self, catalog: Catalog, folds: Sequence["FoldSummary"], name: str, commands: Sequence[str]
    ) -> dict[str, Any]:
        self.summaries = folds = sorted(folds, key=lambda fold: fold.fold)
        joined = join_folds([fold.table for fold in folds], catalog.ids)
        figures = figures_of(joined)
        seconds = time.perf_counter() - self.started
        log_metrics(cv_metrics(figures) | {Metric.SECONDS: seconds}, run_id=self.run_id)
        _store_table(joined, self.run_id, Artifact.OOF)
        numbers = ",".join(str(fold.fold) for fold in folds)
        what = named(name, f"fold {numbers}") if figures.is_single else name
        self.name = with_result(what, figures.top1_mean)
        note = compose(_headline(folds, figures), commands, _fold_lines(folds, figures))
        set_tags({Tag.FOLDS: numbers, Tag.NOTE: note, Tag.RUN_NAME: self.name})
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


def _store_table(table: ProbabilityTable, run_id: str, name: Artifact) -> None:
    with scratch_folder() as folder:
        table.write(folder / name)
        mlflow.log_artifacts(str(folder), run_id=run_id)


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
        Tag.GIT_DIRTY: git_dirty(),
    }
    extra = dict(extra or {})
    of_parent: dict[Tag, str] = {tag: extra.pop(tag) for tag in (Tag.WORK, Tag.WORK_PARTS) if tag in extra}
    tags |= extra
    _check_resumed(tags)
    name = stage_name(stage, config, tags[Tag.BACKBONE])
    of_parent |= {Tag.ROLE: "parent", Tag.IMAGES: str(catalog.image_root.resolve())}
    if catalog.table_path is not None:
        of_parent[Tag.CSV] = str(catalog.table_path.resolve())
    with start_run(name, tags | of_parent, goes_on) as active:
        log_config(config)
        mlflow.log_text(config.to_yaml(), Artifact.CONFIG)
        log_dataset(catalog, "training")
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


def _headline(folds: Sequence[FoldSummary], figures: Figures) -> str:
    reached = f"**top-1 {figures.top1}**, top-3 {figures.top3_mean:.4f}"
    if figures.is_single:
        return f"{reached} of fold {folds[0].fold} alone"
    more = f"macro-F1 {figures.macro_f1:.4f}, calibration error {figures.calibration_error:.4f}"
    return f"{reached} over {len(folds)} folds; {more}"


def _fold_lines(folds: Sequence[FoldSummary], figures: Figures) -> list[str]:
    lines = []
    for fold, reached in zip(folds, figures.folds, strict=True):
        best = f"{fold.history.best} of {fold.history.epochs}"
        lines.append([str(fold.fold), best, f"{reached.top1:.4f}", f"{reached.top3:.4f}"])
    return markdown_table(["fold", "best epoch", "top-1", "top-3"], lines)
