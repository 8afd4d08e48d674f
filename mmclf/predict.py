"""Probabilities of a catalogue from the checkpoints of the folds, a chunk of rows at a time.

Each picture is decoded once, whatever the number of folds and flips. Checkpoints that share a frozen backbone are
scored in one pass. Fine-tuned ones need a pass each: the first keeps the pixels of its chunk in a file without a name,
the others read them there. One backbone is in memory at a time.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO

import numpy as np
import torch

from .batches import Batch, Loader, RowDataset, Tokens, ahead
from .catalog import Catalog
from .checkpoint import Checkpoint, build_head, fits, load_head, restore_backbone
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
    """The probabilities of a catalogue: the mean over checkpoints, each the mean with the flip where `infer.tta`.

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
        self._groups = list(_by_backbone(checkpoints))
        self._data = data
        self._infer = infer
        self._device = device
        self._precision = precision
        self._model: Classifier | None = None
        self._loaded = -1  # number of the group whose towers are in memory

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
        if len(self._groups) == 1:
            return max(self._infer.batch_size, min(CHUNK_ROWS, most))
        per_row = 1.0
        if self._data.multi_image_mode == "mean_pool":
            per_row = max(1.0, sum(map(len, self._catalog.pictures)) / len(self._catalog))
        pixels = 3 * self._data.img_size**2 * per_row
        return max(self._infer.batch_size, min(MAX_CHUNK_ROWS, most, int(SPOOL_BYTES / pixels)))

    def _score_chunk(self, rows: np.ndarray, label: str) -> np.ndarray:
        """Probabilities float32 (n, classes) of a chunk."""
        total = np.zeros((len(rows), len(self._checkpoints[0].meta.classes)), dtype=np.float64)
        tokens: tuple[str, Tokens] | None = None
        with tempfile.TemporaryFile(prefix="mmclf-") as file:
            spool = _Spool(file)
            for number, group in enumerate(self._groups):
                model, heads = self._load(number, group)
                tokenizer = tokenizer_digest(model.backbone.identity.name)
                if tokens is None or tokens[0] != tokenizer:
                    texts = [self._catalog.texts[row] for row in rows]
                    found = model.backbone.tokenize(texts, self._data.max_len)
                    tokens = tokenizer, replace(found, first_row=int(rows[0]))
                if number == 0:
                    self.truncated += tokens[1].truncated
                # texts of one length together: then little of a batch is padding
                order = rows[torch.argsort(tokens[1].attention_mask.sum(dim=1), stable=True).numpy()]
                transform = model.backbone.transform
                if spool.holds(transform):
                    batches = ahead(spool.read(tokens[1]))
                else:
                    batches = self._decode(transform, tokens[1], order, again=number > 0)
                    if number + 1 < len(self._groups):
                        batches = spool.keep(batches, transform)
                count = -(-len(rows) // self._infer.batch_size)
                name = label if len(self._groups) == 1 else f"{label}, model {number + 1}/{len(self._groups)}"
                for batch in self.watch.waiting(track(batches, count, name)):
                    total[batch.rows.numpy() - rows[0]] += self._score(model, heads, batch)
        return (total / len(self._checkpoints)).astype(np.float32)

    def _load(self, number: int, group: list[Checkpoint]) -> tuple[Classifier, list[Head]]:
        """The model of a group with all its heads; the backbone before it is let go, or its memory used again."""
        if self._loaded != number:
            former = self._model.backbone if self._model is not None else None
            self._model = None
            if former is not None and not fits(former, group[0], self._data.img_size):
                former = None  # its memory is needed now
            backbone = restore_backbone(group[0], self._data.img_size, reuse=former).to(self._device)
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

    def _decode(self, transform: Transform, tokens: Tokens, order: np.ndarray, *, again: bool) -> Iterator[Batch]:
        """Batches of rows in this order, from the files; `again` where their damage was counted before."""
        pictures = Pictures(self._catalog.image_root, transform, cache=None, draft=self._data.fast_jpeg)
        loader = Loader(
            RowDataset(self._catalog, pictures, self._data.multi_image_mode, seed=0),
            tokens,
            None,
            order,
            batch_size=self._infer.batch_size,
            num_workers=pick_workers(self._device, self._data.num_workers),
            on_bad_image=self._data.on_bad_image,
            pin_memory=self._device.type == "cuda",
        )
        yield from loader
        if not again:
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
    """The pictures of a chunk in a file, in the order that the first model saw them in."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._made_by: Transform | None = None
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []  # rows and picture_row of each batch

    def holds(self, transform: Transform) -> bool:
        """Whether the pixels that this transform makes are here; mean and std are applied later."""
        made_by = self._made_by
        return made_by is not None and replace(made_by, mean=transform.mean, std=transform.std) == transform

    def keep(self, batches: Iterable[Batch], transform: Transform) -> Iterator[Batch]:
        """Pass batches on, and keep their pixels."""
        self._file.seek(0)
        self._batches = []
        for batch in batches:
            self._file.write(batch.images.numpy().data)
            self._batches.append((batch.rows, batch.picture_row))
            yield batch
        self._made_by = transform

    def read(self, tokens: Tokens) -> Iterator[Batch]:
        """The batches again, with the texts in these tokens."""
        assert self._made_by is not None  # noqa: S101 - for the type checker
        size = self._made_by.img_size
        self._file.seek(0)
        for rows, picture_row in self._batches:
            pixels = bytearray(len(picture_row) * 3 * size * size)
            self._file.readinto(pixels)  # type: ignore[attr-defined]
            images = torch.frombuffer(pixels, dtype=torch.uint8).view(len(picture_row), 3, size, size)
            input_ids, attention_mask = tokens.batch(rows)
            targets = torch.full_like(rows, -1)
            yield Batch(rows, images, picture_row, input_ids, attention_mask, targets)


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
