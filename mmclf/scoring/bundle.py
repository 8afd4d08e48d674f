"""A model as one folder that needs nothing else: fold checkpoints, backbone, tokenizer, configuration.

    bundle.json    configuration, names of the folds, where the model comes from
    backbone/      a `local-dir:` folder; with weights where the towers are frozen
    fold-0/ ...    checkpoints; `all-rows/` where one was trained on all of them; of several experts in `expert-0/` and
                   so on

No path in it leads out of it, so it works wherever it is copied to. Weights are safetensors, the rest is JSON.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..config import LOCAL_DIR, Config
from ..errors import BundleError
from ..evaluation.pool import Pool
from ..evaluation.thresholds import Threshold
from ..model.checkpoint import ALL_ROWS, META, WEIGHTS, Checkpoint, open_checkpoint
from ..store.files import link, read_header, write_header
from .fold_models import check_classes, restore_backbone
from .mixture import Expert, Mixture

NAME, BACKBONE = "bundle.json", "backbone"
BUNDLE = "bundle"  # what a registered model calls the folder


# no path that leads elsewhere
Inside = Annotated[str, Field(pattern=rf"^(expert-\d+/)?(fold-\d+|{ALL_ROWS})$")]


class ExpertMeta(BaseModel):
    """An expert.

    Attributes:
        checkpoints: names of its checkpoints' folders.
        config: what it is used with: `data`, `infer` and `train.amp` of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoints: tuple[Inside, ...]
    config: Config


class BundleMeta(BaseModel):
    """What `bundle.json` says.

    Attributes:
        format: of this file; 1.
        experts: at least one.
        pool: how they count; None for one as it is.
        thresholds: from which confidence on rows are labelled.
        source: where the model comes from, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    experts: tuple[ExpertMeta, ...] = Field(min_length=1)
    pool: Pool | None = None
    thresholds: tuple[Threshold, ...] = ()
    source: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened."""

    folder: Path
    meta: BundleMeta
    mixture: Mixture

    @property
    def config(self) -> Config:
        """What the model is used with."""
        return self.mixture.config

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Of all experts."""
        return self.mixture.checkpoints

    @property
    def text_cols(self) -> tuple[str, ...]:
        """The text columns, in the order they are joined in."""
        return self.mixture.meta.text_cols

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the probabilities."""
        return self.mixture.classes


def write_bundle(folder: Path, mixture: Mixture, source: dict[str, str]) -> None:
    """Write a bundle into a folder that doesn't exist yet.

    Args:
        folder: where to.
        mixture: what scores.
        source: for people, such as the run and the backbone's own name.

    Raises:
        BackboneError: the backbone can't be loaded.
        BundleError: experts on different backbones.
        CheckpointError: a checkpoint is damaged, or the backbone is no longer the one it was trained on.
    """
    from ..model.loading import save_backbone  # open_clip takes seconds, which a reader of bundles is spared

    checkpoints = mixture.checkpoints
    for expert in mixture.experts:
        check_classes(expert.checkpoints)
    frozen = [checkpoint for checkpoint in checkpoints if not checkpoint.has_towers]
    first = (frozen or checkpoints)[0]
    for other in checkpoints:
        if not other.meta.backbone.same_weights(first.meta.backbone):
            raise BundleError(
                f"its members stand on different backbones ({first.meta.backbone.name} and "
                f"{other.meta.backbone.name}); a registered model holds one: fuse runs of the same backbone"
            )
    folder.mkdir(parents=True)
    backbone = restore_backbone(first, first.meta.transform.img_size)
    save_backbone(backbone, folder / BACKBONE, weights=bool(frozen))
    experts = []
    for number, expert in enumerate(mixture.experts):
        inside = f"expert-{number}/" if len(mixture.experts) > 1 else ""
        names = tuple(inside + checkpoint.name for checkpoint in expert.checkpoints)
        for name, checkpoint in zip(names, expert.checkpoints, strict=True):
            _write_checkpoint(folder / name, checkpoint)
        experts.append(ExpertMeta(checkpoints=names, config=_without_paths(expert.config)))
    meta = BundleMeta(experts=tuple(experts), pool=mixture.pool, thresholds=mixture.thresholds, source=source)
    write_header(folder / NAME, meta)


def open_bundle(folder: Path) -> Bundle:
    """Read and check a bundle; weights are read when they are needed.

    Raises:
        BundleError: no such file, or not one that this version reads.
        CheckpointError: a fold is missing or damaged.
    """
    meta = read_header(folder / NAME, BundleMeta, BundleError, "is the copy of the model complete?")
    if meta.pool is not None and len(meta.pool.weights) != len(meta.experts):
        raise BundleError(f"{folder / NAME}: pool: {len(meta.pool.weights)} weights for {len(meta.experts)} experts")
    experts = [
        Expert(tuple(_open_inside(folder, name) for name in expert.checkpoints), expert.config)
        for expert in meta.experts
    ]
    return Bundle(folder, meta, Mixture(tuple(experts), meta.pool, meta.thresholds))


def _write_checkpoint(place: Path, checkpoint: Checkpoint) -> None:
    checkpoint.check_weights()
    place.mkdir(parents=True)
    link(checkpoint.folder / WEIGHTS, place / WEIGHTS)
    meta = checkpoint.meta
    identity = replace(meta.backbone, name=LOCAL_DIR + BACKBONE, pretrained="")
    update = {"backbone": identity, "config": _without_paths(meta.config)}
    write_header(place / META, meta.model_copy(update=update))


def _open_inside(folder: Path, name: str) -> Checkpoint:
    found = open_checkpoint(folder / name)
    identity = replace(found.meta.backbone, name=f"{LOCAL_DIR}{(folder / BACKBONE).resolve()}")
    return replace(found, meta=found.meta.model_copy(update={"backbone": identity}))


def _without_paths(config: Config) -> Config:
    """The configuration without paths of the machine that it was trained on."""
    tree = config.model_dump(mode="json")
    tree["model"] |= {"name": LOCAL_DIR + BACKBONE, "pretrained": None}
    tree["data"] |= {"groups_csv": None, "classes_csv": None}
    return Config.model_validate_json(json.dumps(tree))
