"""A model as one folder that needs nothing else: fold checkpoints, backbone, tokenizer, configuration.

    bundle.json    configuration, names of the folds, where the model comes from
    backbone/      a `local-dir:` folder; with weights where the towers are frozen
    fold-0/ ...    checkpoints; `all-rows/` where one was trained on all of them

No path in it leads out of it, so it works wherever it is copied to. Weights are safetensors, the rest is JSON.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..config import LOCAL_DIR, Config
from ..errors import BundleError
from ..model.checkpoint import META, WEIGHTS, Checkpoint, open_checkpoint
from ..store.files import link, read_header, write_header
from .fold_models import check_classes, restore_backbone

NAME, BACKBONE = "bundle.json", "backbone"
BUNDLE = "bundle"  # what a registered model calls the folder


class BundleMeta(BaseModel):
    """What `bundle.json` says.

    Attributes:
        format: of this file; 1.
        folds: names of the checkpoint folders.
        config: what the model is used with: `data`, `infer` and `train.amp` of it.
        source: where the model comes from, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    folds: tuple[str, ...]
    config: Config
    source: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened."""

    folder: Path
    meta: BundleMeta
    checkpoints: list[Checkpoint]

    @property
    def config(self) -> Config:
        """What the model is used with."""
        return self.meta.config

    @property
    def text_cols(self) -> tuple[str, ...]:
        """The text columns, in the order they are joined in."""
        return self.checkpoints[0].meta.text_cols

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the probabilities."""
        return self.checkpoints[0].meta.classes


def write_bundle(folder: Path, checkpoints: Sequence[Checkpoint], config: Config, source: dict[str, str]) -> None:
    """Write a bundle into a folder that doesn't exist yet.

    Args:
        folder: where to.
        checkpoints: of one run, at least one.
        config: what the model is used with.
        source: for people, such as the run and the backbone's own name.

    Raises:
        BackboneError: the backbone can't be loaded.
        CheckpointError: a checkpoint is damaged, or the backbone is no longer the one it was trained on.
    """
    from ..model.loading import save_backbone  # open_clip takes seconds, which a reader of bundles is spared

    check_classes(checkpoints)
    first = checkpoints[0]
    folder.mkdir(parents=True)
    backbone = restore_backbone(first, first.meta.transform.img_size)
    save_backbone(backbone, folder / BACKBONE, weights=not first.has_towers)
    names = []
    for checkpoint in checkpoints:
        meta = checkpoint.meta
        names.append(checkpoint.name)
        place = folder / names[-1]
        place.mkdir()
        link(checkpoint.folder / WEIGHTS, place / WEIGHTS)
        identity = replace(meta.backbone, name=LOCAL_DIR + BACKBONE, pretrained="")
        inside = meta.model_copy(update={"backbone": identity, "config": _without_paths(meta.config)})
        write_header(place / META, inside)
    bundle = BundleMeta(folds=tuple(names), config=_without_paths(config), source=source)
    write_header(folder / NAME, bundle)


def open_bundle(folder: Path) -> Bundle:
    """Read and check a bundle; weights are read when they are needed.

    Raises:
        BundleError: no such file, or not one that this version reads.
        CheckpointError: a fold is missing or damaged.
    """
    meta = read_header(folder / NAME, BundleMeta, BundleError, "is the copy of the model complete?")
    checkpoints = []
    for name in meta.folds:
        found = open_checkpoint(folder / name)
        identity = replace(found.meta.backbone, name=f"{LOCAL_DIR}{(folder / BACKBONE).resolve()}")
        checkpoints.append(replace(found, meta=found.meta.model_copy(update={"backbone": identity})))
    return Bundle(folder, meta, checkpoints)


def _without_paths(config: Config) -> Config:
    """The configuration without paths of the machine that it was trained on."""
    tree = config.model_dump(mode="json")
    tree["model"] |= {"name": LOCAL_DIR + BACKBONE, "pretrained": None}
    tree["data"] |= {"groups_csv": None}
    return Config.model_validate_json(json.dumps(tree))
