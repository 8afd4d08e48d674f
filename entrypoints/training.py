"""The body that stage1 and stage2 share: every fold is trained, recorded and summed up."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmclf import tracking
from mmclf.backbone import Backbone
from mmclf.catalog import Catalog, read_catalog
from mmclf.config import Config
from mmclf.crossval import train_fold
from mmclf.device import pick_device, pick_precision
from mmclf.folds import assign_folds, fold_warnings, split_digest
from mmclf.model import Classifier, Head
from mmclf.progress import clock, say
from mmclf.train import EpochResult

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


def read_data(csv: str, images: str, fold: str, config: Config) -> Data:
    """Read the table, cut the folds, and say what was found."""
    catalog = read_catalog(csv, images, config.data, training=True)
    folds = assign_folds(catalog, config.train.folds, config.train.seed)
    data = Data(catalog, folds, choose_folds(sorted({int(f) for f in folds}), fold))
    say(f"{catalog.table_path}: {describe(catalog.summary())}")
    for warning in fold_warnings(catalog, folds):
        say(f"warning: {warning}")
    return data


def train_folds(
    stage: str,
    config: Config,
    data: Data,
    backbone: Backbone,
    reload: Callable[[], Backbone],
    make_head: Callable[[Backbone, int], Head],
    extra_tags: dict[str, str],
) -> dict[str, Any]:
    """Train the chosen folds one after another under one parent run.

    Args:
        stage: "stage1" or "stage2".
        config: resolved.
        data: catalogue and folds.
        backbone: pretrained, for the first fold, and for all folds where it stays frozen.
        reload: makes it again for the later folds, where the one before has trained it.
        make_head: makes the head that a fold starts from.
        extra_tags: of the parent run.

    Returns:
        The headline figures.
    """
    device = pick_device()
    precision = pick_precision(device, config.train.amp)
    say(f"{stage}: {device.type} in {precision.name} ({precision.reason})")
    tokens = backbone.tokenize(data.catalog.texts, config.data.max_len)
    if tokens.truncated:
        share = tokens.truncated / len(data.catalog)
        say(f"note: {share:.1%} of the texts are longer than {config.data.max_len} tokens and are cut there")
    identity = backbone.identity
    unreadable: set[str] = set()
    with (
        tempfile.TemporaryDirectory(prefix="mmclf-") as scratch,
        tracking.record_stage(
            stage, config, data.catalog, split=data.split, backbone=identity.weights_sha256, extra=extra_tags
        ) as record,
    ):
        tracking.log_facts(
            {"precision": precision.name, "device": device.type},
            {"data/truncated_texts": tokens.truncated},
        )
        for number, fold in enumerate(data.chosen):
            if config.model.clip_trainable and number:  # the last fold changed the towers
                backbone = reload()
            head = make_head(backbone, fold)
            model = Classifier(backbone, head, precision, clip_trainable=config.model.clip_trainable)
            with record.fold(fold) as fold_record:
                checkpoint = Path(scratch) / f"fold-{fold}"
                outcome = train_fold(
                    model,
                    tokens,
                    data.catalog,
                    data.folds,
                    fold,
                    config,
                    stage=stage,
                    device=device,
                    checkpoint=checkpoint,
                    on_epoch=_reporter(stage, config.train.epochs, fold_record),
                )
                fold_record.finish(checkpoint, outcome.table, outcome.unreadable)
                shutil.rmtree(checkpoint)  # the run has it now
            unreadable.update(outcome.unreadable)
        say_unreadable(sorted(unreadable))
        figures = record.finish(data.catalog)
    say(
        f"{stage}: top-1 {figures['cv_top1_mean']:.4f} ± {figures['cv_top1_std']:.4f}, top-3 "
        f"{figures['cv_top3_mean']:.4f} over {figures['folds']} folds in {clock(figures['seconds'])}"
    )
    return figures


def _reporter(stage: str, epochs: int, record: tracking.FoldRecord) -> Callable[[EpochResult], None]:
    """Record each epoch, and say it in one line."""

    def report(result: EpochResult) -> None:
        record.epoch(result)
        say(_line(stage, record.fold, epochs, result))

    return report


def _line(stage: str, fold: int, epochs: int, r: EpochResult) -> str:
    return (
        f"{stage} fold {fold} epoch {r.epoch}/{epochs}: loss {r.train_loss:.4f}, val top-1 {r.val_top1:.4f}, top-3 "
        f"{r.val_top3:.4f}, {r.rows_per_second:.0f} rows/s, {clock(r.seconds)}{' (best)' if r.is_best else ''}"
    )
