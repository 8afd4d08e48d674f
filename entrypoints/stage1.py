"""Stage 1: the towers are frozen, one head per fold is trained on their features.

python -m entrypoints.stage1 --csv train.csv --images images/
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from mmclf import tracking
from mmclf.backbone import Backbone, load_backbone
from mmclf.checkpoint import build_head
from mmclf.errors import ConfigError
from mmclf.model import Head
from mmclf.seeds import seed_everything

from .common import read_config, run
from .training import read_data, train_folds

DEFAULTS = {"csv": None, "images": None, "config": "configs/stage1.yaml", "overrides": "", "fold": "all"}


def stage1(options: argparse.Namespace) -> dict[str, Any]:
    """Cross-validate a head on frozen features; returns the headline figures."""
    config = read_config(options)
    if config.model.clip_trainable:
        raise ConfigError(f"{options.config}: model.clip_trainable is true, but stage 1 keeps the towers frozen")
    data = read_data(options.csv, options.images, options.fold, config)
    tracking.connect()
    classes = len(data.catalog.classes)

    def load() -> Backbone:
        return load_backbone(config.model.name, config.model.pretrained, config.data.img_size)

    def make_head(backbone: Backbone, fold: int) -> Head:
        seed_everything(config.train.seed, "head", fold)
        return build_head(backbone, config, classes)

    return train_folds("stage1", config, data, load(), load, make_head, {})


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(stage1, "Train one head per fold on frozen OpenCLIP features.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
