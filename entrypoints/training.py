"""The body that stage1 and stage2 share: every fold is trained, recorded and summed up."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmclf.config import Config
from mmclf.data.batches import Loader
from mmclf.data.catalog import Catalog, read_catalog
from mmclf.data.folds import assign_folds, fold_warnings, split_digest
from mmclf.model.classifier import Classifier, FeatureClassifier
from mmclf.model.encoder import FeatureLoader
from mmclf.model.identity import BackboneCard
from mmclf.records import tracking
from mmclf.runtime.distributed import World
from mmclf.runtime.progress import clock, say
from mmclf.training.crossval import train_fold
from mmclf.training.loop import EpochResult

from .common import choose_folds, describe, say_unreadable


@dataclass(frozen=True)
class Data:
    """A catalogue cut into folds."""

    catalog: Catalog
    folds: np.ndarray
    chosen: list[int]

    @property
    def split(self) -> str:
        """Digest that is equal where the same rows with the same labels lie in the same folds."""
        return split_digest(self.catalog.ids, self.catalog.labels or [], self.folds)


def read_data(csv: str, images: str, fold: str, config: Config, *, quiet: bool = False) -> Data:
    """Read the table, cut the folds, and say what was found, unless `quiet`."""
    catalog = read_catalog(csv, images, config.data, training=True)
    folds = assign_folds(catalog, config.train.folds, config.train.seed)
    data = Data(catalog, folds, choose_folds(sorted({int(f) for f in folds}), fold))
    if not quiet:
        say(f"{catalog.table_path}: {describe(catalog.summary())}")
        for warning in fold_warnings(catalog, folds):
            say(f"warning: {warning}")
    return data


@dataclass(frozen=True)
class FoldSetup:
    """What a fold is trained with."""

    model: Classifier | FeatureClassifier
    train: Loader | FeatureLoader
    validation: Loader | FeatureLoader


def train_folds(
    stage: str,
    config: Config,
    data: Data,
    backbone: BackboneCard,
    setup: Callable[[int], FoldSetup],
    tags: dict[str, str],
    facts: Callable[[], dict[str, float]],
    *,
    device: torch.device,
    world: World | None = None,
) -> dict[str, Any]:
    """Train the chosen folds one after another under one parent run.

    Args:
        stage: "stage1" or "stage2".
        config: resolved.
        data: catalogue and folds.
        backbone: that the models stand on.
        setup: makes the model and the loaders of a fold, when it is its turn.
        tags: of the parent run.
        facts: metrics of the parent run, asked for after the folds.
        device: to train on.
        world: the processes that train together; only the main one records.

    Returns:
        The headline figures; nothing in the other processes.
    """
    world = world or World()
    unreadable: set[str] = set()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mmclf-")))
        record = None
        if world.is_main:
            digest = backbone.identity.weights_sha256
            record = stack.enter_context(
                tracking.record_stage(stage, config, data.catalog, split=data.split, backbone=digest, extra=tags)
            )
        for fold in data.chosen:
            parts = setup(fold)
            with record.fold(fold) if record else contextlib.nullcontext() as fold_record:
                outcome = train_fold(
                    parts.model,
                    parts.train,
                    parts.validation,
                    data.catalog,
                    fold,
                    config,
                    held_out=np.flatnonzero(data.folds == fold),
                    backbone=backbone,
                    stage=stage,
                    device=device,
                    checkpoint=scratch / f"fold-{fold}",
                    on_epoch=_reporter(stage, config.train.epochs, fold_record),
                    world=world,
                )
                if fold_record:
                    fold_record.finish(scratch / f"fold-{fold}", outcome.table, outcome.unreadable)
                    shutil.rmtree(scratch / f"fold-{fold}")  # the run has it now
            unreadable.update(outcome.unreadable)
            del parts  # before the next fold's model is made
        if record is None:
            return {}
        say_unreadable(sorted(unreadable), len(unreadable))
        tracking.log_facts({}, facts())
        figures = record.finish(data.catalog)
    say(
        f"{stage}: top-1 {figures['cv_top1_mean']:.4f} ± {figures['cv_top1_std']:.4f}, top-3 "
        f"{figures['cv_top3_mean']:.4f} over {figures['folds']} folds in {clock(figures['seconds'])}"
    )
    return figures


def say_truncated(truncated: int, data: Data, config: Config) -> None:
    """Say how many texts were cut, if any."""
    if truncated:
        share = truncated / len(data.catalog)
        say(f"note: {share:.1%} of the texts are longer than {config.data.max_len} tokens and are cut there")


def _reporter(stage: str, epochs: int, record: tracking.FoldRecord | None) -> Callable[[EpochResult], None]:
    """Record each epoch, and say it in one line."""

    def report(result: EpochResult) -> None:
        if record:
            record.epoch(result)
            say(_line(stage, record.fold, epochs, result))

    return report


def _line(stage: str, fold: int, epochs: int, r: EpochResult) -> str:
    return (
        f"{stage} fold {fold} epoch {r.epoch}/{epochs}: loss {r.train_loss:.4f}, val top-1 {r.val_top1:.4f}, top-3 "
        f"{r.val_top3:.4f}, {r.rows_per_second:.0f} rows/s, {clock(r.seconds)}{' (best)' if r.is_best else ''}"
    )
