"""Configurations as nested mappings, and how they are refused."""

import pytest

from mmclf.config import resolve_config
from mmclf.errors import ConfigError


def small_tree():
    return {
        "model": {"clip_trainable": False},
        "train": {
            "epochs": 2,
            "batch_size": 4,
            "lrs": {"image_encoder": 0.0, "text_encoder": 0.0, "head": 0.01},
        },
    }


def refusal(path, overrides=""):
    with pytest.raises(ConfigError) as caught:
        resolve_config(path, overrides)
    return str(caught.value)
