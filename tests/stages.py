"""Configurations of the stages for the tiny CLIP, and a folder to call the entry points in."""

import copy
from pathlib import Path
from typing import Any

import yaml
from mlflow.tracking import MlflowClient


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


class Project:
    """A folder with configurations, a shop and an MLflow store, and the entry points called in it."""

    def __init__(self, folder: Path, shop, tree) -> None:
        self.folder, self.shop = folder, shop
        for stage in ("stage1", "stage2"):
            write_tree(folder / f"{stage}.yaml", stage, tree)
        self.train = ["--csv", str(shop.train_csv), "--images", str(shop.images)]
        self.test = ["--csv", str(shop.test_csv), "--images", str(shop.images)]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient()

    def command(self, stage: str, *options: str) -> list[str]:
        config = ["--config", str(self.folder / f"{stage}.yaml")] if stage.startswith("stage") else []
        return [*config, *options]
