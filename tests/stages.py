"""Configurations of the stages for the tiny CLIP."""

import copy
from pathlib import Path
from typing import Any

import yaml


def tree_of(stage: str, tree: dict[str, Any]) -> dict[str, Any]:
    """The fixture `tree` as a configuration of this stage."""
    changed = copy.deepcopy(tree)
    changed["model"]["clip_trainable"] = stage == "stage2"
    if stage == "stage1":
        changed["train"]["lrs"] |= {"image_encoder": 0.0, "text_encoder": 0.0}
    return changed


def write_tree(path: Path, stage: str, tree: dict[str, Any]) -> Path:
    """The same as a YAML file."""
    path.write_text(yaml.safe_dump(tree_of(stage, tree)))
    return path
