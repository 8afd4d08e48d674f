"""Probabilities of a catalogue from the checkpoints of the folds, a chunk of rows at a time.

Each picture is decoded once, whatever the number of folds, flips and sizes. Checkpoints that share a frozen backbone
are scored in one pass. Fine-tuned ones, and other sizes, need a pass each: the first keeps the pixels of the chunk in
files without a name, the others read them there. One backbone is in memory at a time.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

import numpy as np
import torch

from ..config import DataConfig, InferConfig
from ..data.batches import Batch, Loader, RowDataset, Tokens, ahead
from ..data.catalog import Catalog
from ..data.images import Transform, flip
from ..data.pictures import Pictures
from ..runtime.device import pick_workers
from ..runtime.progress import track
from ..runtime.speed import Stopwatch
from .fold_models import FoldModels, Loaded

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
        examples: row and a sentence for each of the first of them.
        truncated: number of rows so far whose text didn't fit.
        watch: time since the start, and time spent waiting for data.
    """

    def __init__(
        self,
        catalog: Catalog,
        models: FoldModels,
        data: DataConfig,
        infer: InferConfig,
        *,
        examples: int = EXAMPLES,
        quiet: bool = False,
    ) -> None:
        """
        Args:
            catalog: the rows.
            models: what scores them.
            data: how pictures are read; img_size and max_len are the models' own.
            infer: batch_size and tta.
            examples: how many unreadable pictures are named at most.
            quiet: no progress bars.
        """
        self.unreadable = 0
        self.examples: list[tuple[int, str]] = []
        self.truncated = 0
        self.watch = Stopwatch()
        self._catalog = catalog
        self._models = models
        self._data = data
        self._infer = infer
        self._most_examples = examples
        self._quiet = quiet
        self._device = models.device

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
        most = CHUNK_BYTES // (8 * len(self._models.classes))
        if len(self._models.passes) == 1:
            return max(self._infer.batch_size, min(CHUNK_ROWS, most))
        per_row = 1.0
        if self._data.multi_image_mode == "mean_pool" and len(self._catalog):
            per_row = max(1.0, sum(map(len, self._catalog.pictures)) / len(self._catalog))
        sizes = {each.img_size for each in self._models.passes}
        pixels = 3 * sum(size**2 for size in sizes) * per_row
        return max(self._infer.batch_size, min(MAX_CHUNK_ROWS, most, int(SPOOL_BYTES / pixels)))

    def _score_chunk(self, rows: np.ndarray, label: str) -> np.ndarray:
        """Probabilities float32 (n, classes) of a chunk."""
        passes = self._models.passes
        total = np.zeros((len(rows), len(self._models.classes)), dtype=np.float64)
        tokens: tuple[tuple[str, int], Tokens] | None = None
        transforms = [replace(p.members[0].checkpoint.meta.transform, img_size=p.img_size) for p in passes]
        with contextlib.ExitStack() as stack:
            spools = {
                _pixels(transform): _Spool(stack.enter_context(tempfile.TemporaryFile(prefix="mmclf-")), transform)
                for transform in transforms[1:]
            }
            for number, chosen in enumerate(passes):
                loaded = self._models.load(number)
                wanted = loaded.tokenizer, chosen.max_len
                if tokens is None or tokens[0] != wanted:
                    texts = [self._catalog.texts[row] for row in rows]
                    found = loaded.model.backbone.tokenize(texts, chosen.max_len)
                    tokens = wanted, replace(found, first_row=int(rows[0]), multiple=16)
                if number == 0:
                    self.truncated += tokens[1].truncated
                    batches = self._decode(transforms[0], tokens[1], rows, spools)
                else:
                    batches = ahead(spools[_pixels(transforms[number])].read(tokens[1]))
                count = -(-len(rows) // self._infer.batch_size)
                name = label if len(passes) == 1 else f"{label}, model {number + 1}/{len(passes)}"
                weights = [member.weight for member in chosen.members]
                for batch in self.watch.waiting(track(batches, count, name, quiet=self._quiet)):
                    total[batch.rows.numpy() - rows[0]] += self._score(loaded, weights, batch)
        return total.astype(np.float32)

    def _decode(
        self, transform: Transform, tokens: Tokens, rows: np.ndarray, spools: dict[tuple[int, str], "_Spool"]
    ) -> Iterator[Batch]:
        """The batches of the first pass, from the files; what the later ones need goes to their spools."""
        pictures = Pictures(self._catalog.source, transform, cache=None, draft=self._data.fast_jpeg)
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
        found = sorted((row, sentence) for sentence, row in loader.unreadable.items())
        self.examples += found[: self._most_examples - len(self.examples)]

    def _score(self, loaded: Loaded, weights: list[float], batch: Batch) -> np.ndarray:
        """Weighted sum over the heads of their probabilities, float64 (B, classes)."""
        model = loaded.model
        with torch.inference_mode():
            moved = batch.to(self._device)
            texts = model.text_features(moved)
            views = [moved.images, flip(moved.images)] if self._infer.tta else [moved.images]
            total = torch.zeros((), dtype=torch.float32, device=self._device)
            for images in views:
                features = torch.cat([model.image_features(moved, images), texts], dim=1)
                for head, weight in zip(loaded.heads, weights, strict=True):
                    total = total + head(features).softmax(dim=1) * (weight / len(views))
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
