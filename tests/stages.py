"""Configurations of the stages for the tiny CLIP, and a folder to call the entry points in."""

import contextlib
import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mlflow.tracking import MlflowClient

from tests.stores import mlflow_store


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


def write_kernel_tree(path: Path, tree: dict[str, Any]) -> Path:
    """The fixture `tree` as a configuration of a solved head on two folds, a YAML file."""
    solved = copy.deepcopy(tree)
    solved["model"] = {k: v for k, v in tree["model"].items() if k != "hidden_dim"} | {"head": "kernel"}
    solved["train"] = {"folds": 2}
    path.write_text(yaml.safe_dump(solved))
    return path


def call(entry_point, *options: str, fails: bool = False):
    """Run an entry point in this process; gives its JSON and what it said, or only that where it fails.

    Without a report, which takes longer than the tiny runs, unless the options name it.
    """
    out, err = io.StringIO(), io.StringIO()
    if "report" in entry_point.DEFAULTS and "--report" not in options:
        options = (*options, "--report", "false")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = entry_point.main(list(options))
    assert code == (2 if fails else 0), err.getvalue()
    assert "Traceback" not in err.getvalue()
    return err.getvalue() if fails else (json.loads(out.getvalue()), err.getvalue())


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


@contextlib.contextmanager
def kernel_project(folder: Path, shop, tree) -> Iterator[Project]:
    """A project with a configuration of a solved head too, `kernel.yaml`."""
    with mlflow_store(folder):
        write_kernel_tree(folder / "kernel.yaml", tree)
        yield Project(folder, shop, tree)
