"""One fold from rows to its best checkpoint. What the stages share; what differs is the model and what it is fed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..config import Config
from ..data.batches import Loader, RowDataset, Tokens
from ..data.catalog import Catalog
from ..data.pictures import Pictures
from ..evaluation.probabilities import ProbabilityTable
from ..model.checkpoint import CheckpointMeta, save_checkpoint
from ..model.classifier import Classifier, FeatureClassifier
from ..model.encoder import FeatureLoader, Features
from ..model.identity import BackboneCard
from ..runtime.device import pick_workers
from ..runtime.distributed import World
from ..store.cache import Cache
from .loop import EpochResult, fit


@dataclass(frozen=True)
class FoldOutcome:
    """What a fold leaves: out-of-fold probabilities of its best epoch, and what couldn't be read."""

    table: ProbabilityTable
    unreadable: tuple[str, ...]


def train_fold(
    model: Classifier | FeatureClassifier,
    train: Loader | FeatureLoader,
    validation: Loader | FeatureLoader,
    catalog: Catalog,
    fold: int,
    config: Config,
    *,
    held_out: np.ndarray,
    backbone: BackboneCard,
    stage: str,
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[EpochResult], None],
    world: World | None = None,
) -> FoldOutcome:
    """Train on the rows of the other folds, validate on this one's, and keep the best epoch.

    Args:
        model: with its head initialised; moved to `device` here.
        train: loader of the training rows.
        validation: loader of the held-out rows, or of this process's share of them.
        catalog: with labels.
        fold: number of the one that is held out.
        config: resolved.
        held_out: int64, positions of all held-out rows.
        backbone: that the model stands on, or that its features come from.
        stage: "stage1" or "stage2".
        device: to train on.
        checkpoint: folder that holds the best checkpoint afterwards; the main process writes it.
        on_epoch: called with each epoch's result, after the checkpoint is written where it is the best.
        world: the processes that train together.

    Raises:
        TrainingError: the loss is no longer finite.
        PictureError: an unreadable picture, with `data.on_bad_image: error`.
    """
    world = world or World()
    model = model.to(device)
    best: EpochResult | None = None
    name = f"{stage} fold {fold}"
    for result in fit(model, train, validation, config.train, fold=fold, device=device, name=name, world=world):
        if result.is_best:
            best = result
            if world.is_main:
                save_checkpoint(checkpoint, model, _meta(backbone, catalog, config, stage, fold, result))
        on_epoch(result)
    table = ProbabilityTable(
        ids=[catalog.ids[row] for row in held_out],
        classes=catalog.classes,
        probabilities=best.probabilities,  # type: ignore[union-attr]  # there is at least one epoch
        folds=np.full(len(held_out), fold, dtype=np.int64),
        labels=[(catalog.labels or [])[row] for row in held_out],
    )
    unreadable = {reason for share in world.gather({*train.unreadable, *validation.unreadable}) for reason in share}
    return FoldOutcome(table, tuple(sorted(unreadable)))


def tower_loaders(
    backbone: BackboneCard,
    tokens: Tokens,
    catalog: Catalog,
    folds: np.ndarray,
    fold: int,
    config: Config,
    *,
    device: torch.device,
    cache: Cache | None = None,
    world: World | None = None,
) -> tuple[Loader, Loader]:
    """The shuffled loader of the training rows and the ordered one of the held-out rows, for a `Classifier`.

    Args:
        backbone: whose transform the pictures go through.
        tokens: of all rows of the catalogue.
        catalog: with labels.
        folds: int64 (rows,), fold of each row.
        fold: the one that is held out.
        config: resolved.
        device: that the batches are made for.
        cache: where decoded pictures are kept.
        world: the processes that share the rows.
    """
    world = world or World()
    pictures = Pictures(catalog.image_root, backbone.transform, cache=cache, draft=config.data.fast_jpeg)
    dataset = RowDataset(catalog, pictures, config.data.multi_image_mode, config.train.seed)
    targets = catalog.targets(catalog.classes)
    workers = pick_workers(device, config.data.num_workers)

    def loader(rows: np.ndarray, shuffle_seed: int | None, share_batches: World | None) -> Loader:
        return Loader(
            dataset,
            tokens,
            targets,
            rows,
            batch_size=config.train.batch_size,
            num_workers=workers,
            shuffle_seed=shuffle_seed,
            on_bad_image=config.data.on_bad_image,
            pin_memory=device.type == "cuda",
            world=share_batches,
        )

    train = loader(np.flatnonzero(folds != fold), config.train.seed, world)
    return train, loader(world.share(np.flatnonzero(folds == fold)), None, None)


def feature_loaders(
    features: Features, catalog: Catalog, folds: np.ndarray, fold: int, config: Config
) -> tuple[FeatureLoader, FeatureLoader]:
    """The same for a `FeatureClassifier`: rows in the same order, views with the same crops."""
    targets, size = catalog.targets(catalog.classes), config.train.batch_size
    views = config.train.epochs if config.train.views is None else config.train.views
    rows, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    return (
        FeatureLoader(features, targets, rows, batch_size=size, views=views, shuffle_seed=config.train.seed),
        FeatureLoader(features, targets, held_out, batch_size=size),
    )


def _meta(
    backbone: BackboneCard, catalog: Catalog, config: Config, stage: str, fold: int, result: EpochResult
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
            "backbone": backbone.identity,
            "transform": backbone.transform,
            "config": config,
            "metrics": metrics | {"val_loss": result.val_loss, "train_loss": result.train_loss},
        }
    )
