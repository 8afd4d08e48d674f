"""One fold from rows to its best checkpoint. What the stages share; what differs is the model they bring."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .backbone import Backbone
from .batches import Loader, RowDataset, Tokens
from .catalog import Catalog
from .checkpoint import CheckpointMeta, save_checkpoint
from .config import Config
from .device import pick_workers
from .model import Classifier
from .probabilities import ProbabilityTable
from .train import EpochResult, fit


@dataclass(frozen=True)
class FoldOutcome:
    """What a fold leaves: out-of-fold probabilities of its best epoch, and what couldn't be read."""

    table: ProbabilityTable
    unreadable: tuple[str, ...]


def train_fold(
    model: Classifier,
    tokens: Tokens,
    catalog: Catalog,
    folds: np.ndarray,
    fold: int,
    config: Config,
    *,
    stage: str,
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[EpochResult], None],
) -> FoldOutcome:
    """Train on the rows of the other folds, validate on this one's, and keep the best epoch.

    Args:
        model: with its head initialised; moved to `device` here.
        tokens: of all rows of the catalogue.
        catalog: with labels.
        folds: int64 (rows,), fold of each row.
        fold: the one that is held out.
        config: resolved.
        stage: "stage1" or "stage2".
        device: to train on.
        checkpoint: folder that holds the best checkpoint afterwards.
        on_epoch: called with each epoch's result, after the checkpoint is written where it is the best.

    Raises:
        TrainingError: the loss is no longer finite.
        PictureError: an unreadable picture, with `data.on_bad_image: error`.
    """
    model = model.to(device)
    train, validation = fold_loaders(model.backbone, tokens, catalog, folds, fold, config, device)
    best: EpochResult | None = None
    for result in fit(model, train, validation, config.train, fold=fold, device=device, name=f"{stage} fold {fold}"):
        if result.is_best:
            best = result
            meta = _meta(model, catalog, config, stage, fold, result)
            save_checkpoint(checkpoint, model, meta)
        on_epoch(result)
    held_out = [int(row) for row in validation.rows]
    table = ProbabilityTable(
        ids=[catalog.ids[row] for row in held_out],
        classes=catalog.classes,
        probabilities=best.probabilities,  # type: ignore[union-attr]  # there is at least one epoch
        folds=np.full(len(held_out), fold, dtype=np.int64),
        labels=[(catalog.labels or [])[row] for row in held_out],
    )
    return FoldOutcome(table, tuple(sorted(train.unreadable | validation.unreadable)))


def fold_loaders(
    backbone: Backbone,
    tokens: Tokens,
    catalog: Catalog,
    folds: np.ndarray,
    fold: int,
    config: Config,
    device: torch.device,
) -> tuple[Loader, Loader]:
    """The shuffled loader of the training rows and the ordered one of the held-out rows."""
    dataset = RowDataset(catalog, backbone.transform, config.data.multi_image_mode, config.train.seed)
    targets = catalog.targets(catalog.classes)
    workers = pick_workers(device, config.data.num_workers)
    pin, on_bad_image = device.type == "cuda", config.data.on_bad_image

    def loader(rows: np.ndarray, shuffle_seed: int | None) -> Loader:
        return Loader(
            dataset,
            tokens,
            targets,
            rows,
            batch_size=config.train.batch_size,
            num_workers=workers,
            shuffle_seed=shuffle_seed,
            on_bad_image=on_bad_image,
            pin_memory=pin,
        )

    return loader(np.flatnonzero(folds != fold), config.train.seed), loader(np.flatnonzero(folds == fold), None)


def _meta(
    model: Classifier, catalog: Catalog, config: Config, stage: str, fold: int, result: EpochResult
) -> CheckpointMeta:
    metrics = {"epoch": float(result.epoch), "val_top1": result.val_top1, "val_top3": result.val_top3}
    return CheckpointMeta.model_validate(
        {
            "stage": stage,
            "fold": fold,
            "classes": catalog.classes,
            "id_col": catalog.id_col,
            "label_col": catalog.label_col,
            "text_cols": catalog.text_cols,
            "backbone": model.backbone.identity,
            "transform": model.backbone.transform,
            "config": config,
            "metrics": metrics | {"val_loss": result.val_loss, "train_loss": result.train_loss},
        }
    )
