"""A table as features of frozen towers, as `stage1` and what goes with it need them."""

from dataclasses import dataclass

import torch

from ..config import Config
from ..data.folds import Split
from ..model.frozen_encoder import Encoder
from ..model.kernels import features_used
from ..model.towers import LazyBackbone
from ..runtime.device import Precision, allow_tf32, pick_device, pick_precision
from ..runtime.progress import say
from ..store.cache import open_cache
from ..training.feature_loader import TableFeatures
from .tables import say_truncated


@dataclass(frozen=True)
class Frozen:
    """Towers, and the features of a table, computed when they are first asked for unless the cache has them.

    Attributes:
        backbone: that they come from.
        features: see there.
        device: that they are computed on.
        precision: of the towers.
        truncated: how many texts don't fit.
    """

    backbone: LazyBackbone
    features: TableFeatures
    device: torch.device
    precision: Precision
    truncated: int


def open_frozen(job: str, config: Config, split: Split, backbone: LazyBackbone | None = None) -> Frozen:
    """The features of a table under a configuration; say on what they are computed, and which texts are cut.

    Args:
        job: for the message.
        config: resolved.
        split: the catalogue and its folds.
        backbone: that the configuration names, where it may be loaded already.
    """
    device = pick_device()
    precision = pick_precision(device, config.train.amp)
    allow_tf32(device)
    cache = open_cache()
    say(f"{job}: {device.type} in {precision.name} ({precision.reason}); features in {cache.root}")
    backbone = backbone or LazyBackbone(config.model.name, config.model.pretrained, config.data.img_size, cache)
    encoder = Encoder(
        backbone,
        config.data,
        precision=precision,
        device=device,
        cache=cache,
        seed=config.train.seed,
        compiled=config.train.compile,
    )
    features = TableFeatures(split.catalog.rows, encoder)
    if config.model.head != "kernel" or "text" in features_used(config.model.kernels):
        features.texts()
        say_truncated(encoder.truncated, len(split.catalog), config.data.max_len)
    return Frozen(backbone, features, device, precision, encoder.truncated)
