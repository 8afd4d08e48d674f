"""Probabilities of rows from the checkpoints of the folds, a chunk of rows at a time.

Each picture is decoded once, whatever the number of folds, flips and sizes. Checkpoints that share a frozen backbone
are scored in one pass, on features that are found again in the next run. Fine-tuned ones, and other sizes, need a pass
each: the first keeps the pixels of the chunk in files without a name, the others read them there. One backbone is in
memory at a time.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from ..config import DataConfig, InferConfig
from ..data.images import Transform
from ..data.pixel_spool import PixelSpool
from ..data.rows import Rows
from ..data.text import Tokens, text_sizes
from ..data.views import EVAL, count_views, views_of_row
from ..model.frozen_encoder import Encoder
from ..model.head_inputs import HeadInputs, PictureFeatures
from ..model.kernels import DETAILS, OF_PICTURES
from ..runtime.agenda import Agenda
from ..runtime.speed import Ledger, Stopwatch
from .fold_models import FoldModels, Pass

# rows scored before their probabilities are written: with one backbone, and at most with several
CHUNK_ROWS, MAX_CHUNK_ROWS = 8192, 65_536
CHUNK_BYTES = 256 * 2**20  # of their probabilities
# pixels of a chunk on the disk; more of them mean fewer reloads of the backbones
SPOOL_BYTES = 4 * 2**30
HEAD_ROWS = 4096  # rows that the heads are given at a time
EXAMPLES = 100
# seconds of a picture that is looked at twice against one that isn't; it is decoded once
MIRRORED = 1.8
# a token of a text against a picture, for the time left where nothing is known
TOKEN_PICTURES = 0.01


class Scoring:
    """The probabilities of rows: the mean over checkpoints and sizes, with the flip where `infer.tta`.

    Iterate it once, in memory that doesn't grow with the rows.

    Attributes:
        unreadable: number of pictures that couldn't be decoded so far.
        examples: row and a sentence for each of the first of them.
        truncated: number of rows so far whose text didn't fit.
        watch: time since the start.
        ledger: what was encoded and what was found in the cache.
    """

    def __init__(
        self,
        rows: Rows,
        models: FoldModels,
        data: DataConfig,
        infer: InferConfig,
        *,
        examples: int = EXAMPLES,
        quiet: bool = False,
        pause: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """
        Args:
            rows: the products.
            models: what scores them; its cache keeps the features of frozen towers.
            data: how pictures are read; img_size and max_len are the models' own.
            infer: batch_size and tta.
            examples: how many unreadable pictures are named at most.
            quiet: no progress bars.
            pause: entered while pictures are decoded; what it raises ends the work (see `Encoder`).
        """
        self.unreadable = 0
        self.examples: list[tuple[int, str]] = []
        self.truncated = 0
        self.watch = Stopwatch()
        self.ledger = Ledger()
        self._rows = rows
        self._models = models
        self._data = data
        self._infer = infer
        self._most_examples = examples
        self._quiet = quiet
        self._pause = pause

    @property
    def wait_share(self) -> float:
        """Share of the time so far that was spent waiting for data, in [0, 1]."""
        return self.ledger.wait_seconds / max(self.watch.seconds, 1e-9)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For one chunk after another: positions int64 (n,), ascending, and probabilities float32 (n, classes).

        Raises:
            BackboneError: a backbone can't be loaded.
            PictureError: an unreadable picture, with `data.on_bad_image: error`.
        """
        size = self._chunk_rows()
        starts = range(0, len(self._rows), size)
        for start in starts:
            part = self._rows.slice(start, start + size)
            yield np.arange(start, start + len(part)), self._score_chunk(part, start)

    def plan(self, agenda: Agenda) -> None:
        """Plan the passes of all chunks, as far as the cache doesn't have what they compute."""
        size = self._chunk_rows()
        for number, chosen in enumerate(self._models.passes):
            reads = {name for head in self._models.load(number).heads for name in head.reads}
            looks = bool(OF_PICTURES & reads)
            flips = (False, True) if self._infer.tta and looks else (False,)
            encoder = self._encoder(number, chosen)
            details = bool(DETAILS & reads)
            of_pictures = encoder.missing(self._rows, flips=flips, details=details)[0] if looks else 0.0
            of_texts = encoder.missing_texts(self._rows.texts)
            for start in range(0, len(self._rows), size):
                part = self._rows.slice(start, start + size)
                if looks:
                    pictures = of_pictures * count_views(part, self._data.multi_image_mode)
                    like = (encoder.picture_kind(), MIRRORED) if len(flips) > 1 else None
                    agenda.plan(encoder.picture_kind(len(flips)), [pictures], like=like)
                strings = [part.texts] if "text" in reads else []
                strings += [part.titles] if "title" in reads and part.titles is not None else []
                words = [sum(text_sizes(list(dict.fromkeys(each)), chosen.max_len)) * of_texts for each in strings]
                agenda.plan(encoder.text_kind, words, like=(encoder.picture_kind(len(flips)), TOKEN_PICTURES))

    def _chunk_rows(self) -> int:
        most = CHUNK_BYTES // (8 * len(self._models.classes) * self._models.experts)
        if len(self._models.passes) == 1:
            return max(self._infer.batch_size, min(CHUNK_ROWS, most))
        per_row = 1.0
        if self._data.multi_image_mode == "mean_pool" and len(self._rows):
            per_row = max(1.0, sum(map(len, self._rows.pictures)) / len(self._rows))
        sizes = {each.img_size for each in self._models.passes}
        pixels = 3 * sum(size**2 for size in sizes) * per_row
        return max(self._infer.batch_size, min(MAX_CHUNK_ROWS, most, int(SPOOL_BYTES / pixels)))

    def _score_chunk(self, rows: Rows, first_row: int) -> np.ndarray:
        """Probabilities float32 (n, classes) of a chunk."""
        passes = self._models.passes
        totals = np.full((self._models.experts, len(rows), len(self._models.classes)), np.nan)
        for expert, columns in self._models.columns.items():
            totals[expert][:, columns] = 0
        unreadable: dict[str, str] = {}
        memo: dict[tuple[str, int], Tokens] = {}
        with PixelSpool(map(_transform, passes[1:])) if len(passes) > 1 else contextlib.nullcontext() as spool:
            for number, chosen in enumerate(passes):
                encoder = self._encoder(number, chosen)
                loaded = self._models.load(number)
                reads = {name for head in loaded.heads for name in head.reads}
                pictures: list[PictureFeatures | None] = [None]
                if OF_PICTURES & reads:
                    flips = (False, True) if self._infer.tta else (False,)
                    views = encoder.images(rows, EVAL, flips=flips, spool=spool, details=bool(DETAILS & reads))
                    pictures = [encoder.parted(view) for view in views]
                texts = None
                if "text" in reads:
                    shared = memo if loaded.is_fine_tuned and len(passes) > 1 else None
                    texts = encoder.texts(rows, memo=shared)
                titles = encoder.titles(rows) if "title" in reads else None
                inputs = [
                    HeadInputs.of(rows.texts, images, encoder.has_picture, texts, titles, rows.titles, layers, outlines)
                    for images, layers, outlines in [each or (None, None, None) for each in pictures]
                ]
                for expert, found in self._apply_heads(number, inputs).items():
                    totals[expert][:, self._models.columns[expert]] += found
                unreadable |= encoder.unreadable
                if number == 0:
                    self.truncated += encoder.truncated
                self.ledger.add(encoder.ledger)
        self._note(rows, first_row, unreadable)
        return self._models.combine(totals).astype(np.float32)

    def _encoder(self, number: int, chosen: Pass) -> Encoder:
        loaded = self._models.load(number)
        return Encoder(
            loaded.towers,
            _read_for(chosen, self._data),
            precision=self._models.precision,
            device=self._models.device,
            cache=None if loaded.is_fine_tuned else self._models.cache,
            sizes=[each.img_size for each in self._models.passes],
            max_batch=self._infer.batch_size,
            quiet=self._quiet,
            pause=self._pause,
        )

    def _apply_heads(self, number: int, views: list[HeadInputs]) -> dict[int, np.ndarray]:
        """By expert, the weighted sum over heads and flips of their probabilities, float64 (n, classes)."""
        loaded, members = self._models.load(number), self._models.passes[number].members
        parts: dict[int, list[np.ndarray]] = {member.expert: [] for member in members}
        with torch.inference_mode():
            for start in range(0, len(views[0]), HEAD_ROWS):
                totals = {expert: torch.zeros((), dtype=torch.float32) for expert in parts}
                for view in views:
                    rows = view.slice(start, start + HEAD_ROWS)
                    for head, member in zip(loaded.heads, members, strict=True):
                        found = head.probabilities(rows)
                        total = totals[member.expert].to(found.device)
                        totals[member.expert] = total + found * (member.weight / len(views))
                for expert, total in totals.items():
                    parts[expert].append(total.cpu().double().numpy())
        return {expert: np.concatenate(each) for expert, each in parts.items()}

    def _note(self, rows: Rows, first_row: int, unreadable: dict[str, str]) -> None:
        """Count the pictures of a chunk that couldn't be decoded, and name the first."""
        self.unreadable += len(unreadable)
        if not unreadable or len(self.examples) >= self._most_examples:
            return
        for row in range(len(rows)):
            for view in views_of_row(rows, row, EVAL, self._data.multi_image_mode, seed=0):
                if view.name in unreadable and len(self.examples) < self._most_examples:
                    self.examples.append((first_row + row, unreadable[view.name]))


def first_features(
    rows: Rows,
    models: FoldModels,
    data: DataConfig,
    *,
    max_batch: int,
    quiet: bool = False,
    pause: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> HeadInputs:
    """Features of rows, pictures and texts, by the towers of the first pass; of fine-tuned ones, the first fold's.

    Args:
        rows: the products.
        models: whose cache keeps the features of frozen towers.
        data: how pictures are read; img_size and max_len are the models' own.
        max_batch: pictures or texts at a time, at most, where none are kept.
        quiet: no progress bars.
        pause: see `Scoring`.

    Raises:
        BackboneError: the backbone is needed and can't be loaded.
        PictureError: an unreadable picture, with `data.on_bad_image: error`.
    """
    loaded = models.load(0)
    encoder = Encoder(
        loaded.towers,
        _read_for(models.passes[0], data),
        precision=models.precision,
        device=models.device,
        cache=None if loaded.is_fine_tuned else models.cache,
        max_batch=max_batch,
        quiet=quiet,
        pause=pause,
    )
    [images] = encoder.images(rows)
    return HeadInputs.of(rows.texts, images, encoder.has_picture, encoder.texts(rows))


def _read_for(chosen: Pass, data: DataConfig) -> DataConfig:
    return data.model_copy(update={"img_size": chosen.img_size, "max_len": chosen.max_len})


def _transform(chosen: Pass) -> Transform:
    return replace(chosen.members[0].checkpoint.meta.transform, img_size=chosen.img_size)
