"""Probabilities of a catalogue from the checkpoints of the folds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .batches import Loader, RowDataset
from .catalog import Catalog
from .checkpoint import Checkpoint, build_head, load_head, restore_backbone
from .config import DataConfig, InferConfig
from .device import Precision, pick_workers
from .errors import CheckpointError
from .images import flip
from .model import Classifier, Head
from .progress import track


@dataclass(frozen=True)
class Prediction:
    """Probabilities float32 (rows, classes) with what was noticed on the way."""

    probabilities: np.ndarray
    unreadable: tuple[str, ...]
    truncated: int


def predict_catalog(
    catalog: Catalog,
    checkpoints: list[Checkpoint],
    data: DataConfig,
    infer: InferConfig,
    *,
    device: torch.device,
    precision: Precision,
) -> Prediction:
    """Mean of the checkpoints' probabilities, each the mean with the horizontal flip where `infer.tta`.

    One backbone is in memory at a time; frozen ones are shared, so that all stage-1 folds take one pass.

    Raises:
        CheckpointError: no checkpoint, or checkpoints with different classes.
        BackboneError: a backbone can't be loaded.
        PictureError: an unreadable picture, with `data.on_bad_image: error`.
    """
    check_classes(checkpoints)
    total = np.zeros((len(catalog), len(checkpoints[0].meta.classes)), dtype=np.float64)
    unreadable: set[str] = set()
    truncated = 0
    groups = list(_by_backbone(checkpoints))
    for number, group in enumerate(groups, start=1):
        backbone = restore_backbone(group[0], data.img_size).to(device)
        tokens = backbone.tokenize(catalog.texts, data.max_len)
        truncated = tokens.truncated
        heads = []
        for checkpoint in group:
            head = build_head(backbone, checkpoint.meta.config, len(checkpoint.meta.classes))
            load_head(head, checkpoint)
            heads.append(head.to(device).eval())
        model = Classifier(backbone, heads[0], precision, clip_trainable=False).eval()
        loader = Loader(
            RowDataset(catalog, backbone.transform, data.multi_image_mode, seed=0),
            tokens,
            None,
            np.arange(len(catalog)),
            batch_size=infer.batch_size,
            num_workers=pick_workers(device, data.num_workers),
            on_bad_image=data.on_bad_image,
            pin_memory=device.type == "cuda",
        )
        name = "scoring" if len(groups) == 1 else f"scoring, model {number}/{len(groups)}"
        for rows, probabilities in _score(model, heads, loader, infer.tta, device, name):
            total[rows] += probabilities
        unreadable |= loader.unreadable
    return Prediction((total / len(checkpoints)).astype(np.float32), tuple(sorted(unreadable)), truncated)


def check_classes(checkpoints: list[Checkpoint]) -> None:
    """All checkpoints name the same classes in the same order.

    Raises:
        CheckpointError: they don't, or there is none.
    """
    if not checkpoints:
        raise CheckpointError("the run has no finished fold, so there is nothing to score with")
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.meta.classes != first.meta.classes:
            differing = sorted(set(other.meta.classes) ^ set(first.meta.classes))
            raise CheckpointError(f"{other.folder}: its classes differ from those of {first.folder}: {differing[:5]}")


def _by_backbone(checkpoints: list[Checkpoint]) -> Iterator[list[Checkpoint]]:
    """Checkpoints that can share one backbone, together: the frozen ones of the same weights."""
    frozen: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        if checkpoint.has_towers:
            yield [checkpoint]
        else:
            key = checkpoint.meta.backbone.activation + checkpoint.meta.backbone.weights_sha256
            frozen.setdefault(key, []).append(checkpoint)
    yield from frozen.values()


def _score(
    model: Classifier, heads: list[Head], loader: Loader, tta: bool, device: torch.device, name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row positions and the sum over the heads of their probabilities, float64 (rows, classes)."""
    with torch.inference_mode():
        for batch in track(loader, len(loader), name):
            moved = batch.to(device)
            texts = model.text_features(moved)
            views = [moved.images, flip(moved.images)] if tta else [moved.images]
            total = torch.zeros((), dtype=torch.float32, device=device)
            for images in views:
                features = torch.cat([model.image_features(moved, images), texts], dim=1)
                for head in heads:
                    total = total + head(features).softmax(dim=1) / len(views)
            yield batch.rows.numpy(), total.cpu().double().numpy()
