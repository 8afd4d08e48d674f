"""Probabilities of a catalogue from the checkpoints of the folds, a chunk of rows at a time.

Each picture is decoded once, whatever the number of folds, flips and sizes. Checkpoints that share a frozen backbone
are scored in one pass. Fine-tuned ones, and other sizes, need a pass each: the first keeps the pixels of the chunk in
files without a name, the others read them there. One backbone is in memory at a time.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO

import numpy as np
import torch

from .backbone import Backbone, load_backbone
from .batches import Batch, Loader, RowDataset, Tokens, ahead
from .catalog import Catalog
from .checkpoint import TOWERS, Checkpoint, build_head, load_head
from .config import DataConfig, InferConfig
from .device import Precision, pick_workers
from .errors import CheckpointError
from .identity import tokenizer_digest
from .images import Transform, flip
from .model import Classifier, Head
from .pictures import Pictures
from .progress import track
from .speed import Stopwatch

# rows scored before their probabilities are written: with one backbone, and at most with several
CHUNK_ROWS, MAX_CHUNK_ROWS = 8192, 65_536
CHUNK_BYTES = 256 * 2**20  # of their probabilities
# pixels of a chunk on the disk; more of them mean fewer reloads of the backbones
SPOOL_BYTES = 4 * 2**30
EXAMPLES = 100


class Scoring:
    """The probabilities of a catalogue: the mean over checkpoints and sizes, with the flip where `infer.tta`.

    Iterate it once, in memory that doesn't grow with the rows.

    Attributes:
        unreadable: number of pictures that couldn't be decoded so far.
        examples: a sentence for each of the first hundred of them.
        truncated: number of rows so far whose text didn't fit.
        watch: time since the start, and time spent waiting for data.
    """

    def __init__(
        self,
        catalog: Catalog,
        checkpoints: Sequence[Checkpoint],
        data: DataConfig,
        infer: InferConfig,
        *,
        device: torch.device,
        precision: Precision,
    ) -> None:
        """
        Raises:
            CheckpointError: no checkpoint, or checkpoints with different classes.
        """
        check_classes(checkpoints)
        self.unreadable = 0
        self.examples: list[str] = []
        self.truncated = 0
        self.watch = Stopwatch()
        self._catalog = catalog
        self._checkpoints = checkpoints
        # one backbone, one pass: the sizes one after another, since a backbone is built for one of them
        sizes = list(dict.fromkeys(infer.img_sizes or [data.img_size]))
        self._passes = [(group, size) for size in sizes for group in _by_backbone(checkpoints)]
        self._sizes = sizes
        self._data = data
        self._infer = infer
        self._device = device
        self._precision = precision
        self._model: Classifier | None = None
        self._heads: list[Head] = []
        self._loaded = -1  # number of the pass whose model is in memory

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For one chunk after another: positions int64 (n,), ascending, and probabilities float32 (n, classes).

        Raises:
            BackboneError: a backbone can't be loaded.
            PictureError: an unreadable picture, with `data.on_bad_image: error`.
        """
        size = self._chunk_rows()
        chunks = range(0, len(self._catalog), size)
        for number, start in enumerate(chunks):
            rows = np.arange(start, min(start + size, len(self._catalog)))
            label = "scoring" if len(chunks) == 1 else f"scoring {number + 1}/{len(chunks)}"
            yield rows, self._score_chunk(rows, label)

    def _chunk_rows(self) -> int:
        most = CHUNK_BYTES // (8 * len(self._checkpoints[0].meta.classes))
        if len(self._passes) == 1:
            return max(self._infer.batch_size, min(CHUNK_ROWS, most))
        per_row = 1.0
        if self._data.multi_image_mode == "mean_pool":
            per_row = max(1.0, sum(map(len, self._catalog.pictures)) / len(self._catalog))
        pixels = 3 * sum(size**2 for size in self._sizes) * per_row
        return max(self._infer.batch_size, min(MAX_CHUNK_ROWS, most, int(SPOOL_BYTES / pixels)))

    def _score_chunk(self, rows: np.ndarray, label: str) -> np.ndarray:
        """Probabilities float32 (n, classes) of a chunk."""
        total = np.zeros((len(rows), len(self._checkpoints[0].meta.classes)), dtype=np.float64)
        tokens: tuple[str, Tokens] | None = None
        transforms = [replace(group[0].meta.transform, img_size=size) for group, size in self._passes]
        with contextlib.ExitStack() as stack:
            spools = {
                _pixels(transform): _Spool(stack.enter_context(tempfile.TemporaryFile(prefix="mmclf-")), transform)
                for transform in transforms[1:]
            }
            for number, (group, size) in enumerate(self._passes):
                model, heads = self._load(number, group, size)
                tokenizer = tokenizer_digest(model.backbone.identity.name)
                if tokens is None or tokens[0] != tokenizer:
                    texts = [self._catalog.texts[row] for row in rows]
                    found = model.backbone.tokenize(texts, self._data.max_len)
                    tokens = tokenizer, replace(found, first_row=int(rows[0]))
                if number == 0:
                    self.truncated += tokens[1].truncated
                    batches = self._decode(transforms[0], tokens[1], rows, spools)
                else:
                    batches = ahead(spools[_pixels(transforms[number])].read(tokens[1]))
                count = -(-len(rows) // self._infer.batch_size)
                name = label if len(self._passes) == 1 else f"{label}, model {number + 1}/{len(self._passes)}"
                for batch in self.watch.waiting(track(batches, count, name)):
                    total[batch.rows.numpy() - rows[0]] += self._score(model, heads, batch)
        return (total / (len(self._checkpoints) * len(self._sizes))).astype(np.float32)

    def _load(self, number: int, group: list[Checkpoint], size: int) -> tuple[Classifier, list[Head]]:
        """The model of a pass with all its heads; the backbone before it is let go, or its memory used again."""
        if self._loaded != number:
            former = self._model.backbone if self._model is not None else None
            self._model = None
            if former is not None and not fits(former, group[0], size):
                former = None  # its memory is needed now
            backbone = restore_backbone(group[0], size, reuse=former).to(self._device)
            heads = []
            for checkpoint in group:
                head = build_head(backbone.identity, checkpoint.meta.config, len(checkpoint.meta.classes))
                load_head(head, checkpoint)
                heads.append(head.to(self._device).eval())
            self._heads = heads
            self._model = Classifier(backbone, heads[0], self._precision, clip_trainable=False).eval()
            self._loaded = number
        assert self._model is not None  # noqa: S101 - for the type checker
        return self._model, self._heads

    def _decode(
        self, transform: Transform, tokens: Tokens, rows: np.ndarray, spools: dict[tuple[int, str], "_Spool"]
    ) -> Iterator[Batch]:
        """The batches of the first pass, from the files; what the later ones need goes to their spools."""
        pictures = Pictures(self._catalog.image_root, transform, cache=None, draft=self._data.fast_jpeg)
        others = {kind: spool for kind, spool in spools.items() if kind != _pixels(transform)}
        also = pictures.at_other_sizes([spool.transform for spool in others.values()])
        # texts of one length together: then little of a batch is padding
        order = rows[torch.argsort(tokens.attention_mask.sum(dim=1), stable=True).numpy()]
        loader = Loader(
            RowDataset(self._catalog, pictures, self._data.multi_image_mode, seed=0, also=tuple(also)),
            tokens,
            None,
            order,
            batch_size=self._infer.batch_size,
            num_workers=pick_workers(self._device, self._data.num_workers),
            on_bad_image=self._data.on_bad_image,
            pin_memory=self._device.type == "cuda",
        )
        for batch in loader:
            if _pixels(transform) in spools:
                spools[_pixels(transform)].keep(batch, batch.images)
            for spool, images in zip(others.values(), batch.also, strict=True):
                spool.keep(batch, images)
            yield batch
        self.unreadable += len(loader.unreadable)
        self.examples += sorted(loader.unreadable)[: EXAMPLES - len(self.examples)]

    def _score(self, model: Classifier, heads: list[Head], batch: Batch) -> np.ndarray:
        """Sum over the heads of their probabilities, float64 (B, classes)."""
        with torch.inference_mode():
            moved = batch.to(self._device)
            texts = model.text_features(moved)
            views = [moved.images, flip(moved.images)] if self._infer.tta else [moved.images]
            total = torch.zeros((), dtype=torch.float32, device=self._device)
            for images in views:
                features = torch.cat([model.image_features(moved, images), texts], dim=1)
                for head in heads:
                    total = total + head(features).softmax(dim=1) / len(views)
            return total.cpu().double().numpy()


class _Spool:
    """The pictures of a chunk at one size, in a file, in the order that the first pass saw them in."""

    def __init__(self, file: IO[bytes], transform: Transform) -> None:
        self.transform = transform
        self._file = file
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []  # rows and picture_row of each

    def keep(self, batch: Batch, images: torch.Tensor) -> None:
        """Append the pictures of a batch, uint8 (P, 3, size, size)."""
        self._file.write(images.contiguous().numpy().data)
        self._batches.append((batch.rows, batch.picture_row))

    def read(self, tokens: Tokens) -> Iterator[Batch]:
        """The batches again, with their texts in these tokens."""
        size = self.transform.img_size
        self._file.seek(0)
        for rows, picture_row in self._batches:
            pixels = bytearray(len(picture_row) * 3 * size * size)
            self._file.readinto(pixels)  # type: ignore[attr-defined]
            images = torch.frombuffer(pixels, dtype=torch.uint8).view(len(picture_row), 3, size, size)
            input_ids, attention_mask = tokens.batch(rows)
            targets = torch.full_like(rows, -1)
            yield Batch(rows, images, picture_row, input_ids, attention_mask, targets)


def _pixels(transform: Transform) -> tuple[int, str]:
    """What decides the pixels of an eval view; mean and std are applied later."""
    return transform.img_size, transform.interpolation


def fits(backbone: Backbone, checkpoint: Checkpoint, img_size: int) -> bool:
    """Whether a checkpoint's fine-tuned towers can be loaded into this backbone, whatever its weights."""
    here, there = backbone.identity, checkpoint.meta.backbone
    same = (here.name, here.pretrained, backbone.transform.img_size) == (there.name, there.pretrained, img_size)
    return same and checkpoint.has_towers


def restore_backbone(checkpoint: Checkpoint, img_size: int, *, reuse: Backbone | None = None) -> Backbone:
    """The backbone that a checkpoint's head was trained on: fine-tuned, or the frozen one it names.

    Args:
        checkpoint: of either stage.
        img_size: side of the pictures; position embeddings are resized to it.
        reuse: a backbone that isn't needed any more and `fits`: the weights are loaded into it.

    Raises:
        BackboneError: the frozen backbone can't be loaded.
        CheckpointError: it is no longer the one that the head was trained on, or the weights don't fit.
    """
    identity = checkpoint.meta.backbone
    backbone = reuse or load_backbone(
        identity.name,
        identity.pretrained or None,
        img_size,
        load_weights=not checkpoint.has_towers,
        widths=(identity.image_dim, identity.text_dim) if img_size == checkpoint.meta.transform.img_size else None,
    )
    if checkpoint.has_towers:
        state = {k.removeprefix(TOWERS): v for k, v in checkpoint.tensors().items() if k.startswith(TOWERS)}
        backbone.load_towers(state, checkpoint.meta.transform.img_size)
    elif not backbone.identity.same_weights(identity):
        raise CheckpointError(
            f"{identity.name}: its weights are not the ones that {checkpoint.folder} was trained on (SHA-256 "
            f"{backbone.identity.weights_sha256[:12]}, then {identity.weights_sha256[:12]}); put the former "
            "weights back, or train stage 1 again"
        )
    return backbone


def check_classes(checkpoints: Sequence[Checkpoint]) -> None:
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


def _by_backbone(checkpoints: Sequence[Checkpoint]) -> Iterator[list[Checkpoint]]:
    """Checkpoints that can share one backbone, together: the frozen ones of the same weights."""
    frozen: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        if checkpoint.has_towers:
            yield [checkpoint]
        else:
            key = checkpoint.meta.backbone.activation + checkpoint.meta.backbone.weights_sha256
            frozen.setdefault(key, []).append(checkpoint)
    yield from frozen.values()
