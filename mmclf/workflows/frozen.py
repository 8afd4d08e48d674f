"""A table as features of frozen towers, as `stage1` and what goes with it need them."""

from dataclasses import dataclass

import numpy as np
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
from .feature_forecast import FeatureForecast
from .forecast import shown
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
        is_cut: bool (rows,), which those are; None where no text is read by the towers.
    """

    backbone: LazyBackbone
    features: TableFeatures
    device: torch.device
    precision: Precision
    truncated: int
    is_cut: np.ndarray | None


def open_frozen(
    job: str, config: Config, split: Split, backbone: LazyBackbone | None = None, *, details: bool = False
) -> Frozen:
    """The features of a table under a configuration; say on what they are computed, and which texts are cut.

    Args:
        job: for the message.
        config: resolved.
        split: the catalogue and its folds.
        backbone: that the configuration names, where it may be loaded already; how long it takes isn't said then.
        details: see `TableFeatures`.
    """
    device = pick_device()
    precision = pick_precision(device, config.train.amp)
    allow_tf32(device)
    cache = open_cache()
    say(f"{job}: {device.type} in {precision.name} ({precision.reason}); features in {cache.root}")
    towers = backbone or LazyBackbone(config.model.name, config.model.pretrained, config.data.img_size, cache)
    rows = split.catalog.rows

    def encoder_of(*, quiet: bool) -> Encoder:
        return Encoder(
            towers,
            config.data,
            precision=precision,
            device=device,
            cache=cache,
            seed=config.train.seed,
            compiled=config.train.compile,
            quiet=quiet,
        )

    forecast = FeatureForecast("" if backbone else job, config, rows, details=details)
    with shown(job) as agenda:
        if not towers.is_known:  # they are loaded now, which may take long
            forecast.announce(agenda)
        encoder = encoder_of(quiet=False)
        forecast.refine(agenda, lambda: encoder_of(quiet=True))
    features = TableFeatures(rows, encoder, details=details)
    is_cut = None
    if config.model.head != "kernel" or "text" in features_used(config.model.kernels):
        features.texts()
        is_cut = encoder.is_cut
        say_truncated(encoder.truncated, len(split.catalog), config.data.max_len)
    return Frozen(towers, features, device, precision, encoder.truncated, is_cut)
