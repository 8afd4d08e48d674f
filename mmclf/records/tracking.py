"""What is kept in MLflow: runs of the stages, of infer, ensemble and register. How they are found: runs.py.

A stage is a parent run with one child run per fold. `mlflow run` makes the parent before the script starts
(MLFLOW_RUN_ID); elsewhere it is made here. Runs are recognised by their tags:

    stage        stage1, stage2, infer, ensemble
    role         parent, fold; only runs of the stages have one
    split        digest of the rows, labels and folds: equal where the folds are the same
    backbone     SHA-256 of the pretrained weights
    fingerprint  digest of the table with its texts and picture names
    config_id    fingerprint of the configuration
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..config import Config
from ..data.catalog import Catalog
from ..errors import RunError
from ..evaluation.metrics import calibration_error, macro_f1, top_k
from ..evaluation.probabilities import ProbabilityTable, join_folds, read_table
from ..training.history import curves, write_history, write_tensorboard
from ..training.loop import EpochResult
from .runs import CHECKPOINT, OOF, artifact_path, finished_folds, get_run

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
        mlflow.log_metrics(curves(result), step=result.epoch, run_id=self.run_id)
        if result.is_best:
            best = {"best/top1": result.val_top1, "best/top3": result.val_top3, "best/epoch": result.epoch}
            mlflow.log_metrics(best, run_id=self.run_id)

    def finish(self, checkpoint: Path, table: ProbabilityTable, unreadable: Sequence[str]) -> None:
        """Store the best checkpoint, the out-of-fold probabilities and the history."""
        self.table = table
        mlflow.log_metric("data/unreadable_pictures", len(unreadable), run_id=self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            write_history(Path(folder) / "history.csv", self.results)
            table.write(Path(folder) / OOF)
            write_tensorboard(Path(folder) / "tensorboard", self.results)
            mlflow.log_artifacts(folder, run_id=self.run_id)
        mlflow.log_artifacts(str(checkpoint), CHECKPOINT, run_id=self.run_id)


@dataclass
class StageRecord:
    """The parent run of a stage, while it runs."""

    run_id: str
    stage: str
    config: Config
    tags: dict[str, str]
    folds: list[FoldRecord] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def fold(self, number: int) -> Iterator[FoldRecord]:
        """A child run for a fold; it is marked FAILED when the block is left by an exception."""
        with mlflow.start_run(run_name=f"{self.stage} fold {number}", nested=True) as active:
            mlflow.set_tags(self.tags | {"role": "fold", "fold": str(number)})
            _log_config(self.config)
            record = FoldRecord(active.info.run_id, number)
            yield record
            self.folds.append(record)

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
            number = int(child.data.tags["fold"])
            if number not in own and number not in found:
                found[number] = child.info.run_id, _stored_summary(child)
        return dict(found.values())

    def _summarise(self, catalog: Catalog, folds: Sequence["FoldSummary"]) -> dict[str, Any]:
        folds = sorted(folds, key=lambda fold: fold.fold)
        joined = join_folds([fold.table for fold in folds], catalog.ids)
        figures = {
            "cv_top1_mean": float(np.mean([fold.top1 for fold in folds])),
            "cv_top1_std": float(np.std([fold.top1 for fold in folds])),
            "cv_top3_mean": float(np.mean([fold.top3 for fold in folds])),
        }
        seconds = time.perf_counter() - self.started
        mlflow.log_metrics(
            {name.replace("cv_", "cv/"): value for name, value in figures.items()}
            | {
                "cv/oof_top1": top_k(joined.probabilities, joined.targets(), 1),
                "cv/macro_f1": macro_f1(joined.probabilities, joined.targets()),
                "cv/calibration_error": calibration_error(joined.probabilities, joined.targets()),
                "cv/seconds": seconds,
            },
            run_id=self.run_id,
        )
        with tempfile.TemporaryDirectory() as folder:
            joined.write(Path(folder) / OOF)
            mlflow.log_artifacts(folder, run_id=self.run_id)
        mlflow.set_tags({"folds": ",".join(str(fold.fold) for fold in folds)})
        mlflow.set_tag("mlflow.note.content", _fold_note(folds, figures))
        return {"run_id": self.run_id, **figures, "folds": len(folds), "seconds": round(seconds, 1)}


@dataclass(frozen=True)
class FoldSummary:
    """What the best epoch of a fold reached."""

    fold: int
    best_epoch: int
    epochs: int
    top1: float
    top3: float
    table: ProbabilityTable


def _summary(record: FoldRecord) -> FoldSummary:
    best = max(record.results, key=lambda r: (r.val_top1, -r.epoch))
    assert record.table is not None  # noqa: S101 - set by `finish`
    return FoldSummary(record.fold, best.epoch, len(record.results), best.val_top1, best.val_top3, record.table)


def _stored_summary(child: Run) -> FoldSummary:
    metrics = child.data.metrics
    epochs = len(artifact_path(child, "history.csv").read_text(encoding="utf-8").splitlines()) - 1
    table = read_table(artifact_path(child, OOF))
    best = int(metrics["best/epoch"])
    return FoldSummary(int(child.data.tags["fold"]), best, epochs, metrics["best/top1"], metrics["best/top3"], table)


@contextlib.contextmanager
def record_stage(
    stage: str, config: Config, catalog: Catalog, *, split: str, backbone: str, extra: Mapping[str, str] | None = None
) -> Iterator[StageRecord]:
    """The parent run of stage1 or stage2; FAILED with the reason as tag `error` when left by an exception.

    Args:
        stage: "stage1" or "stage2".
        config: resolved; logged under `cfg/` and as `config.yaml`.
        catalog: logged as the run's dataset.
        split: digest of the folds.
        backbone: SHA-256 of the pretrained weights.
        extra: further tags, for example the stage-1 run that a stage-2 run starts from.

    Raises:
        RunError: MLFLOW_RUN_ID names a run that was begun with other data or settings.
    """
    tags = {
        "stage": stage,
        "split": split,
        "backbone": backbone,
        "fingerprint": catalog.digest(),
        "config_id": config.fingerprint(),
        "git_dirty": _git_dirty(),
    } | dict(extra or {})
    _check_resumed(tags)
    with _start_run(f"{stage} {_short_name(config)}") as active:
        mlflow.set_tags(tags | {"role": "parent", "csv": str(catalog.table_path.resolve())})
        mlflow.set_tag("images", str(catalog.image_root.resolve()))
        _log_config(config)
        mlflow.log_metrics({f"data/{name}": value for name, value in catalog.summary().items()})
        mlflow.log_text(config.to_yaml(), "config.yaml")
        _log_dataset(catalog, "training")
        yield StageRecord(active.info.run_id, stage, config, tags)


@contextlib.contextmanager
def record_scores(stage: str, name: str, tags: Mapping[str, str], catalog: Catalog | None = None) -> Iterator[Run]:
    """The run of an `infer` or `ensemble`."""
    with _start_run(name) as active:
        mlflow.set_tags({"stage": stage, "git_dirty": _git_dirty(), **tags})
        if catalog is not None:
            mlflow.set_tag("fingerprint", catalog.digest())
            mlflow.log_metrics({f"data/{key}": value for key, value in catalog.summary().items()})
            _log_dataset(catalog, "inference")
        yield active


def log_files(run: Run, folder: Path) -> None:
    """Store the files of a folder in a run that is being recorded."""
    mlflow.log_artifacts(str(folder), run_id=run.info.run_id)


def log_facts(tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Tags and metrics of the active run."""
    mlflow.set_tags(dict(tags))
    mlflow.log_metrics(dict(metrics))


def note_failure(message: str) -> None:
    """Leave the reason of a failure as tag `error` on the run that is active or named by the environment."""
    active = mlflow.active_run()
    run_id = active.info.run_id if active else os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        with contextlib.suppress(MlflowException):
            MlflowClient().set_tag(run_id, "error", message[:5000])


@contextlib.contextmanager
def _start_run(name: str) -> Iterator[Run]:
    with mlflow.start_run(run_name=name, log_system_metrics=True) as active:
        mlflow.set_tag("mlflow.runName", name)  # a run that `mlflow run` made has a random name
        try:
            yield active
        except BaseException as error:
            with contextlib.suppress(MlflowException):
                mlflow.set_tag("error", f"{type(error).__name__}: {error}"[:5000])
            raise


def _check_resumed(tags: Mapping[str, str]) -> None:
    """A run that has folds already, of an earlier or another process, must be of the same data and settings."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    before = get_run(MlflowClient(), run_id).data.tags if run_id else {}
    names = {"stage": "stage", "split": "rows or folds", "backbone": "backbone", "config_id": "configuration"}
    for tag, name in names.items():
        if tag in before and before[tag] != tags[tag]:
            raise RunError(
                f"MLFLOW_RUN_ID: run {run_id} was begun with another {name} ({before[tag]} there, "
                f"{tags[tag]} here); folds of one run must share it"
            )


def _log_config(config: Config) -> None:
    """Config values under `cfg/`: `mlflow run` logs its own parameters, shell-quoted, under their plain names."""
    mlflow.log_params({f"cfg/{key}": str(value)[:MAX_PARAM] for key, value in config.flat().items()})


def _log_dataset(catalog: Catalog, context: str) -> None:
    columns: dict[str, Sequence[object]] = {"id": catalog.ids, "text": catalog.texts}
    columns["picture"] = [names[0] if names else "" for names in catalog.pictures]
    if catalog.labels is not None:
        columns["label"] = catalog.labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice about the schema of integer columns and the like
        dataset = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            pd.DataFrame(columns),
            source=str(catalog.table_path.resolve()),
            targets="label" if catalog.labels is not None else None,
            name=catalog.table_path.resolve().parent.name + "/" + catalog.table_path.name,
            digest=catalog.digest(),
        )
        mlflow.log_input(dataset, context=context)


def _short_name(config: Config) -> str:
    name = config.model.name.rstrip("/")
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:")).name
    return name if config.model.pretrained is None else f"{name}/{config.model.pretrained}"


def _fold_note(folds: Sequence[FoldSummary], figures: Mapping[str, float]) -> str:
    """The description of the parent run: what each fold reached, as the UI shows Markdown."""
    lines = ["| fold | best epoch | top-1 | top-3 |", "| --- | --- | --- | --- |"]
    for fold in folds:
        lines.append(f"| {fold.fold} | {fold.best_epoch} of {fold.epochs} | {fold.top1:.4f} | {fold.top3:.4f} |")
    mean, std = figures["cv_top1_mean"], figures["cv_top1_std"]
    lines.append(f"| mean | | **{mean:.4f}** ± {std:.4f} | {figures['cv_top3_mean']:.4f} |")
    return "\n".join(lines)


def _git_dirty() -> str:
    """Say "true" where the checkout has changes that no commit holds, "unknown" outside one."""
    try:
        command = ["git", "status", "--porcelain"]
        status = subprocess.run(command, capture_output=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return json.dumps(bool(status.stdout.strip()))
