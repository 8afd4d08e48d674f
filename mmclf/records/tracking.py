"""What is kept in MLflow: runs of the stages, of infer, ensemble and register. How they are found: runs.py.

A stage is a parent run with one child run per fold. `mlflow run` makes the parent before the script starts
(MLFLOW_RUN_ID); elsewhere it is made here. Runs are recognised by their tags: vocabulary.py.
"""

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..config import Config
from ..data.catalog import Catalog
from ..data.folds import Split
from ..errors import RunError
from ..evaluation.crossvalidation import Figures, figures_of
from ..evaluation.probabilities import ProbabilityTable, join_folds, read_table
from ..model.checkpoint import ALL_ROWS
from ..model.identity import BackboneIdentity
from ..runtime import environment
from ..store.files import atomic_path
from ..training.history import curves, write_history, write_tensorboard
from ..training.loop import EpochResult
from .runs import artifact_path, finished_folds, get_run
from .vocabulary import CONFIG_PREFIX, Artifact, Metric, Tag, show_backbone

# MLflow cuts longer parameter values off by an error
MAX_PARAM = 6000


@dataclass
class FoldRecord:
    """The child run of one fold, while it is trained."""

    run_id: str
    fold: int
    results: list[EpochResult] = field(default_factory=list)
    table: ProbabilityTable | None = None

    def epoch(self, result: EpochResult) -> None:
        """Log the curves of an epoch, and the best figures so far."""
        self.results.append(result)
        _log_metrics(curves(result), step=result.epoch, run_id=self.run_id)
        if result.is_best:
            best: dict[str, float] = {Metric.BEST_TOP1: result.val_top1, Metric.BEST_TOP3: result.val_top3}
            _log_metrics(best | {Metric.BEST_EPOCH: result.epoch}, run_id=self.run_id)

    def finish(self, checkpoint: Path, table: ProbabilityTable, unreadable: Sequence[str]) -> None:
        """Store the best checkpoint, the out-of-fold probabilities and the history."""
        self.table = table
        _log_metrics({Metric.UNREADABLE: len(unreadable)}, run_id=self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            write_history(Path(folder) / Artifact.HISTORY, self.results)
            table.write(Path(folder) / Artifact.OOF)
            write_tensorboard(Path(folder) / Artifact.TENSORBOARD, self.results)
            mlflow.log_artifacts(folder, run_id=self.run_id)
        mlflow.log_artifacts(str(checkpoint), Artifact.CHECKPOINT, run_id=self.run_id)


@dataclass
class StageRecord:
    """The parent run of a stage, while it runs."""

    run_id: str
    stage: str
    config: Config
    tags: dict[Tag, str]
    folds: list[FoldRecord] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def fold(self, number: int) -> Iterator[FoldRecord]:
        """A child run for a fold; it is marked FAILED when the block is left by an exception."""
        with mlflow.start_run(run_name=f"{self.stage} fold {number}", nested=True) as active:
            _set_tags(self.tags | {Tag.ROLE: "fold", Tag.FOLD: str(number)})
            _log_config(self.config)
            record = FoldRecord(active.info.run_id, number)
            yield record
            self.folds.append(record)

    @contextlib.contextmanager
    def all_rows(self, checkpoint: Path) -> Iterator[None]:
        """A child run, as `fold`, for the model of all rows, whose checkpoint is stored when the block ends well."""
        with mlflow.start_run(run_name=f"{self.stage} all rows", nested=True) as active:
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
        folds = sorted(folds, key=lambda fold: fold.fold)
        joined = join_folds([fold.table for fold in folds], catalog.ids)
        figures = figures_of(joined)
        seconds = time.perf_counter() - self.started
        _log_metrics(cv_metrics(figures) | {Metric.SECONDS: seconds}, run_id=self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            joined.write(Path(folder) / Artifact.OOF)
            mlflow.log_artifacts(folder, run_id=self.run_id)
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
    """A finished fold: its best epoch, how many there were, and its rows."""

    fold: int
    best_epoch: int
    epochs: int
    table: ProbabilityTable


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
    best = max(record.results, key=lambda r: (r.val_top1, -r.epoch))
    assert record.table is not None  # noqa: S101 - set by `finish`
    return FoldSummary(record.fold, best.epoch, len(record.results), record.table)


def _stored_summary(child: Run) -> FoldSummary:
    epochs = len(artifact_path(child, Artifact.HISTORY).read_text(encoding="utf-8").splitlines()) - 1
    table = read_table(artifact_path(child, Artifact.OOF))
    return FoldSummary(int(child.data.tags[Tag.FOLD]), int(child.data.metrics[Metric.BEST_EPOCH]), epochs, table)


@contextlib.contextmanager
def record_stage(
    stage: str, config: Config, split: Split, backbone: BackboneIdentity, extra: Mapping[Tag, str] | None = None
) -> Iterator[StageRecord]:
    """The parent run of stage1 or stage2; FAILED with the reason as tag `error` when left by an exception.

    Args:
        stage: "stage1" or "stage2".
        config: resolved; logged under `cfg/` and as `config.yaml`.
        split: the catalogue, logged as the run's dataset, and its folds.
        backbone: that is trained, or whose features are.
        extra: further tags, for example the stage-1 run that a stage-2 run starts from.

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
    tags |= extra or {}
    _check_resumed(tags)
    head = "" if config.model.head == "mlp" else f" {config.model.head}"
    with _start_run(f"{stage}{head} {tags[Tag.BACKBONE]}") as active:
        _set_tags(tags | {Tag.ROLE: "parent", Tag.IMAGES: str(catalog.image_root.resolve())})
        if catalog.table_path is not None:
            _set_tags({Tag.CSV: str(catalog.table_path.resolve())})
        _log_config(config)
        _log_metrics({f"data/{name}": value for name, value in catalog.summary().items()})
        mlflow.log_text(config.to_yaml(), Artifact.CONFIG)
        _log_dataset(catalog, "training")
        yield StageRecord(active.info.run_id, stage, config, tags)


@contextlib.contextmanager
def record_scores(
    stage: str,
    name: str,
    tags: Mapping[Tag, str],
    catalog: Catalog | None = None,
    *,
    context: str = "inference",
    run_id: str | None = None,
) -> Iterator[Run]:
    """The run of another job: `infer`, `ensemble`, `register`, `batch`, `tune`, `demo`.

    Args:
        stage: the job.
        name: of the run.
        tags: of the run.
        catalog: logged as its dataset.
        context: what the dataset is for.
        run_id: of a run that goes on; None for that of the environment, or a new one.
    """
    with _start_run(name, run_id) as active:
        _set_tags({Tag.STAGE: stage, Tag.GIT_DIRTY: _git_dirty()} | dict(tags))
        if catalog is not None:
            _set_tags({Tag.FINGERPRINT: catalog.digest()})
            _log_metrics({f"data/{key}": value for key, value in catalog.summary().items()})
            _log_dataset(catalog, context)
        yield active


@contextlib.contextmanager
def record_files(run: Run, config: str, out: str) -> Iterator[Path]:
    """A folder whose files are stored in the run when the block ends well, and copied to `out` where it is given.

    Args:
        run: that is being recorded.
        config: stored with them as YAML; "" for none.
        out: a folder, made where it doesn't exist.
    """
    with tempfile.TemporaryDirectory(prefix="mmclf-") as name:
        folder = Path(name)
        yield folder
        if out:
            for path in sorted(folder.iterdir()):
                with atomic_path(Path(out) / path.name) as draft:
                    shutil.copyfile(path, draft)
        if config:
            (folder / Artifact.CONFIG).write_text(config, encoding="utf-8")
        mlflow.log_artifacts(str(folder), run_id=run.info.run_id)


def describe(text: str) -> None:
    """Make a text, Markdown, the description of the active run."""
    _set_tags({Tag.NOTE: text})


def log_facts(tags: Mapping[Tag, str], metrics: Mapping[str, float]) -> None:
    """Tags and metrics of the active run."""
    _set_tags(tags)
    _log_metrics(metrics)


@contextlib.contextmanager
def record_several(stage: str, name: str, tags: Mapping[Tag, str]) -> Iterator[Run]:
    """The run of a job that runs others: those recorded within the block become its children."""
    with _start_run(name) as active:
        _set_tags({Tag.STAGE: stage, Tag.GIT_DIRTY: _git_dirty()} | dict(tags))
        _holders.append(active.info.run_id)
        try:
            yield active
        finally:
            _holders.pop()


# runs of which those started now become children
_holders: list[str] = []


@contextlib.contextmanager
def _start_run(name: str, run_id: str | None = None) -> Iterator[Run]:
    before = mlflow.active_run()
    if before is not None and before.info.run_id not in _holders:
        raise RunError(f"MLflow: run {before.info.run_id} is active here; end it first, by mlflow.end_run()")
    nested = before is not None
    with mlflow.start_run(run_id, run_name=name, nested=nested, log_system_metrics=not nested) as active:
        _set_tags({Tag.RUN_NAME: name})  # a run that `mlflow run` made has a random name
        try:
            yield active
        except BaseException as error:
            with contextlib.suppress(MlflowException):
                _set_tags({Tag.ERROR: f"{type(error).__name__}: {error}"[:5000]})
            raise


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
            name=f"{path.resolve().parent.name}/{path.name}" if path else catalog.name,
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
        lines.append(f"| {fold.fold} | {fold.best_epoch} of {fold.epochs} | {reached.top1:.4f} | {reached.top3:.4f} |")
    return "\n".join(lines)


def _git_dirty() -> str:
    """Say "true" where the checkout has changes that no commit holds, "unknown" outside one."""
    try:
        command = ["git", "status", "--porcelain"]
        status = subprocess.run(command, capture_output=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return json.dumps(bool(status.stdout.strip()))
