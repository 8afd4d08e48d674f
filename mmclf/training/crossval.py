"""One fold from its task to its best checkpoint."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..config import Config
from ..data.folds import Split
from ..evaluation.probabilities import ProbabilityTable
from ..model.checkpoint import CheckpointMeta, save_checkpoint
from ..model.identity import BackboneSpec
from .epoch import EpochResult
from .fold_state import FoldStates
from .fold_task import FoldTask
from .loop import fit


@dataclass(frozen=True)
class FoldOutcome:
    """What a fold leaves: out-of-fold probabilities of its best epoch, and what couldn't be read."""

    table: ProbabilityTable
    unreadable: tuple[str, ...]


class Report(Protocol):
    """Told of each epoch."""

    def __call__(self, result: EpochResult, /, *, is_past: bool = False) -> None:
        """`is_past`: the epoch is one of a process that was interrupted."""


def train_fold(task: FoldTask, split: Split, backbone: BackboneSpec, states: FoldStates, report: Report) -> FoldOutcome:
    """Train on the rows of the other folds, validate on this one's, and keep the best epoch.

    A training that was interrupted goes on from the state that it kept.

    Args:
        task: the fold; its model is moved to the task's device here.
        split: the catalogue and its folds.
        backbone: that the model stands on, or that its features come from.
        states: where they are kept, and the folder that holds the best checkpoint afterwards; the main process writes.
        report: called with each epoch's result, after the checkpoint is written where it is the best.

    Raises:
        TrainingError: the loss is no longer finite.
        PictureError: an unreadable picture, with `data.on_bad_image: error`.
        SystemExit, KeyboardInterrupt: the process was asked to end; the state is kept.
    """
    task.model.to(task.device)
    position = states.read(is_main=task.world.is_main)
    if not all(task.world.gather(position is not None)):
        position = None
    best: EpochResult | None = None
    for result in position.results if position else []:
        best = result if result.is_best else best
        report(result, is_past=True)
    for result in fit(task, states, position):
        if result.is_best:
            best = result
            if task.world.is_main:
                meta = describe_fold(task.stage, task.fold, task.config, split, backbone, result)
                save_checkpoint(states.checkpoint, task.model.served_state(), meta)
        report(result)
    assert best is not None  # noqa: S101 - there is at least one epoch
    shares = task.world.gather(task.train.unreadable | task.validation.unreadable)
    table = held_out_table(split, task.fold, best.probabilities)
    return FoldOutcome(table, tuple(sorted({sentence for share in shares for sentence in share})))


def held_out_table(split: Split, fold: int, probabilities: np.ndarray) -> ProbabilityTable:
    """The rows that a fold held out, with their probabilities float32 (rows, classes) in the order of the catalogue."""
    held_out = split.held_out(fold)
    return ProbabilityTable(
        ids=[split.catalog.ids[row] for row in held_out],
        classes=split.catalog.classes,
        probabilities=probabilities,
        folds=np.full(len(held_out), fold, dtype=np.int64),
        labels=[(split.catalog.labels or [])[row] for row in held_out],
    )


def describe_fold(
    stage: str, fold: int, config: Config, split: Split, backbone: BackboneSpec, result: EpochResult
) -> CheckpointMeta:
    """What is kept with the weights that reached `result`."""
    metrics = {"epoch": float(result.epoch), "val_top1": result.val_top1, "val_top3": result.val_top3}
    metrics |= {"val_loss": result.val_loss, "train_loss": result.train_loss}
    return describe(stage, fold, config, split, backbone, metrics)


def describe(
    stage: str, fold: int | None, config: Config, split: Split, backbone: BackboneSpec, metrics: dict[str, float]
) -> CheckpointMeta:
    """What is kept with weights; `fold` is None where all rows trained them."""
    return CheckpointMeta.model_validate(
        {
            "stage": stage,
            "fold": fold,
            "classes": split.catalog.classes,
            "id_col": split.catalog.id_col,
            "label_col": split.catalog.label_col,
            "text_cols": split.catalog.text_cols,
            "backbone": backbone.identity,
            "transform": backbone.transform,
            "config": config,
            "metrics": metrics,
        }
    )
