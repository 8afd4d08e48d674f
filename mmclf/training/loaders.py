"""The two loaders of a fold, of pictures and texts for towers that are trained, or of stored features."""

import numpy as np
import torch

from ..config import Config
from ..data.folds import Split
from ..data.images import draft_side
from ..data.pictures import Pictures
from ..data.row_batches import Loader, RowDataset
from ..data.text import Tokens
from ..model.identity import BackboneSpec
from ..runtime.device import pick_workers
from ..runtime.distributed import World
from .feature_loader import FeatureLoader, TableFeatures


def tower_loaders(
    split: Split,
    fold: int,
    config: Config,
    backbone: BackboneSpec,
    tokens: Tokens,
    *,
    device: torch.device,
    world: World | None = None,
) -> tuple[Loader, Loader]:
    """The shuffled loader of the training rows and the ordered one of the held-out rows, for a `Classifier`.

    Args:
        split: the catalogue and its folds.
        fold: the one that is held out.
        config: resolved.
        backbone: whose transform the pictures go through.
        tokens: of all rows of the catalogue.
        device: that the batches are made for.
        world: the processes that share the rows.
    """
    world, data = world or World(), config.data
    rows = split.catalog.rows
    draft = draft_side([backbone.transform.img_size]) if data.fast_jpeg else None
    pictures = Pictures(rows.picture_source, backbone.transform, draft=draft, max_megapixels=data.max_megapixels)
    dataset = RowDataset(rows, pictures, data.multi_image_mode, config.train.seed)
    targets = split.catalog.targets(split.catalog.classes)

    def loader(positions: np.ndarray, shuffle_seed: int | None, share_batches: World | None) -> Loader:
        return Loader(
            dataset,
            tokens,
            targets,
            positions,
            batch_size=config.train.batch_size,
            num_workers=pick_workers(device, data.num_workers),
            shuffle_seed=shuffle_seed,
            on_bad_image=data.on_bad_image,
            pin_memory=device.type == "cuda",
            world=share_batches,
        )

    train = loader(split.train_rows(fold), config.train.seed, world)
    return train, loader(world.share(split.held_out(fold)), None, None)


def feature_loaders(
    split: Split, fold: int, config: Config, features: TableFeatures
) -> tuple[FeatureLoader, FeatureLoader]:
    """The same for a `HeadModel`: rows in the same order, views with the same crops."""
    targets, size = split.catalog.targets(split.catalog.classes), config.train.batch_size
    views = config.train.epochs if config.train.views is None else config.train.views
    seed = config.train.seed
    return (
        FeatureLoader(features, targets, split.train_rows(fold), batch_size=size, views=views, shuffle_seed=seed),
        FeatureLoader(features, targets, split.held_out(fold), batch_size=size),
    )
