"""What the loaders of a fold take from the configuration.

.venv/bin/python -m pytest tests/training/test_loaders.py
"""

import copy

import torch

from mmclf.config import build_config
from mmclf.data.folds import Split, assign_folds
from mmclf.training.loaders import tower_loaders
from tests.conftest import MAX_LEN


def test_the_crops_of_training_are_as_gentle_as_configured(backbone, catalog, tree):
    split = Split(catalog, assign_folds(catalog, 2, 42))
    tokens = backbone.tokenize(catalog.rows.texts, MAX_LEN)
    first, held_out = [], []
    for least in (0.08, 0.08, 1.0):
        changed = copy.deepcopy(tree)
        changed["data"]["num_workers"] = 0
        changed["train"]["crop_scale"] = least
        loaders = tower_loaders(split, 0, build_config(changed), backbone.spec, tokens, device=torch.device("cpu"))
        loaders[0].set_epoch(1)
        first.append(next(iter(loaders[0])))
        held_out.append(next(iter(loaders[1])))
    assert torch.equal(first[0].images, first[1].images)
    assert not torch.equal(first[0].images, first[2].images)
    assert torch.equal(first[0].rows, first[2].rows)
    assert torch.equal(held_out[0].images, held_out[2].images)
