"""Stage 1: the towers are frozen, one head per fold is trained on their features.

python -m entrypoints.stage1 --csv train.csv --images images/
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from mmclf.errors import ConfigError
from mmclf.model.checkpoint import build_head
from mmclf.model.classifier import FeatureClassifier
from mmclf.model.encoder import Features, LazyBackbone
from mmclf.records import runs
from mmclf.runtime.device import allow_tf32, pick_device, pick_precision
from mmclf.runtime.progress import say
from mmclf.runtime.seeds import seed_everything
from mmclf.store.cache import open_cache
from mmclf.training.crossval import feature_loaders

from .common import read_config, run
from .training import FoldSetup, read_data, say_truncated, train_folds

DEFAULTS = {"csv": None, "images": None, "config": "configs/stage1.yaml", "overrides": "", "fold": "all"}


def stage1(options: argparse.Namespace) -> dict[str, Any]:
    """Cross-validate a head on frozen features; returns the headline figures."""
    config = read_config(options)
    if config.model.clip_trainable:
        raise ConfigError(f"{options.config}: model.clip_trainable is true, but stage 1 keeps the towers frozen")
    for key, default in (("grad_checkpointing", False), ("patch_dropout", 0.0)):
        if getattr(config.train, key) != default:
            raise ConfigError(f"train.{key}: is for training the towers, which stage 1 doesn't; leave it at {default}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("stage 1 needs one process only: start it without torchrun; stage 2 runs on several")
    data = read_data(options.csv, options.images, options.fold, config)
    runs.connect()
    device = pick_device()
    precision = pick_precision(device, config.train.amp)
    allow_tf32(device)
    cache = open_cache()
    say(f"stage1: {device.type} in {precision.name} ({precision.reason}); features in {cache.root}")
    backbone = LazyBackbone(config.model.name, config.model.pretrained, config.data.img_size, cache)
    seed = config.train.seed
    features = Features(data.catalog, backbone, config.data, seed=seed, precision=precision, device=device, cache=cache)
    features.texts()
    say_truncated(features.truncated, data, config)

    def setup(fold: int) -> FoldSetup:
        seed_everything(seed, "head", fold)
        model = FeatureClassifier(build_head(backbone.card.identity, config, len(data.catalog.classes)))
        return FoldSetup(model, *feature_loaders(features, data.catalog, data.folds, fold, config))

    def facts() -> dict[str, float]:
        return features.ledger.figures() | {"data/truncated_texts": features.truncated}

    tags = {"precision": precision.name, "device": device.type}
    return train_folds("stage1", config, data, backbone.card, setup, tags, facts, device=device)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(stage1, "Train one head per fold on frozen OpenCLIP features.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
