"""Features of the test catalogue, as several test files compute them."""

import copy
from dataclasses import replace

import torch

from mmclf.config import build_config
from mmclf.data.rows import Rows
from mmclf.model.frozen_encoder import Encoder
from mmclf.model.towers import LazyBackbone
from mmclf.runtime.device import Precision
from mmclf.training.feature_loader import TableFeatures

FLOAT32 = Precision(None, False, "test")
CPU = torch.device("cpu")


def configure(tree, *, epochs=3, views=None, mode="first", **data):
    changed = copy.deepcopy(tree)
    changed["train"].update(epochs=epochs, views=views, early_stop_patience=epochs)
    changed["data"].update(multi_image_mode=mode, **data)
    return build_config(changed)


def lazy(config, cache) -> LazyBackbone:
    return LazyBackbone(config.model.name, config.model.pretrained, config.data.img_size, cache)


def make(catalog, config, cache, *, precision=FLOAT32, seed=None, **options) -> TableFeatures:
    seed = config.train.seed if seed is None else seed
    towers = lazy(config, cache)
    encoder = Encoder(towers, config.data, seed=seed, precision=precision, device=CPU, cache=cache, **options)
    return TableFeatures(catalog.rows, encoder)


def part_of(catalog, positions):
    rows = catalog.rows
    return replace(
        catalog,
        rows=Rows(
            [rows.ids[row] for row in positions],
            [rows.texts[row] for row in positions],
            [rows.pictures[row] for row in positions],
            rows.picture_source,
        ),
    )
