"""Batches: rows as tensors, for towers that are trained.

A row is asked for by its position and the epoch; which views it is shown by then: views.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import PictureError
from ..runtime.distributed import World
from ..runtime.seeds import derive_seed
from .pictures import Pictures
from .rows import Rows
from .text import Tokens
from .views import EVAL, views_of_row

T = TypeVar("T")
# target of a row that doesn't count; torch's cross-entropy leaves it out
NO_TARGET = -100


@dataclass(frozen=True)
class Sample:
    """What is asked of the dataset.

    Attributes:
        row: position of the row.
        epoch: 1 for the first, EVAL for the eval view.
        is_filler: the row only fills up a process's share of a batch, and doesn't count.
    """

    row: int
    epoch: int
    is_filler: bool = False


@dataclass(frozen=True)
class Example:
    """A sample with its pictures uint8 (n >= 1, 3, size, size), and a sentence for each that couldn't be decoded."""

    sample: Sample
    images: torch.Tensor
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """B rows with P pictures.

    Attributes:
        rows: int64 (B,), positions in the catalogue.
        images: uint8 (P, 3, size, size).
        picture_row: int64 (P,), the position in this batch (0..B-1) of the row that each picture belongs to.
        input_ids: int64 (B, length); `length` is the tower's context or what the longest text needs.
        attention_mask: bool (B, length).
        targets: int64 (B,), NO_TARGET on a row that doesn't count.
        unreadable: a sentence for each picture that couldn't be decoded.
    """

    rows: torch.Tensor
    images: torch.Tensor
    picture_row: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: torch.Tensor
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory (called by DataLoader)."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        return replace(self, **changed)


@dataclass(frozen=True)
class RowDataset(Dataset[Example]):
    """The pictures of one row at a time, as DataLoader workers make them."""

    rows: Rows
    pictures: Pictures
    multi_image_mode: str
    seed: int

    def __getitem__(self, sample: Sample) -> Example:
        """The pictures of a sample; black where there is none."""
        images, unreadable = [], []
        for view in views_of_row(self.rows, sample.row, sample.epoch, self.multi_image_mode, self.seed):
            try:
                images.append(self.pictures.view(view))
            except PictureError as error:
                unreadable.append(str(error))
        return Example(sample, torch.stack(images or [self.pictures.placeholder()]), tuple(unreadable))


class EpochSampler(Sampler[list[Sample]]):
    """Batches of samples: shuffled by (seed, epoch) for training, in order for evaluation.

    With several processes each gets its share of every batch, but at least one row: a filler where the last batch has
    fewer rows than there are processes.
    """

    def __init__(
        self, rows: np.ndarray, batch_size: int, *, shuffle_seed: int | None = None, world: World | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.world = world or World()
        self.epoch = EVAL if shuffle_seed is None else 0
        self.start = 0  # number of the first batch; the length counts those before it too

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[list[Sample]]:
        rows = self.rows
        if self.shuffle_seed is not None:
            generator = torch.Generator().manual_seed(derive_seed(self.shuffle_seed, self.epoch, "order"))
            rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        for start in range(self.start * self.batch_size, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            share = self.world.share(batch)
            if len(share):
                yield [Sample(int(row), self.epoch) for row in share]
            else:
                yield [Sample(int(batch[0]), self.epoch, is_filler=True)]


class Loader:
    """Batches over some rows of a catalogue; iterate it once an epoch, after `set_epoch` when training."""

    def __init__(
        self,
        dataset: RowDataset,
        tokens: Tokens,
        targets: np.ndarray,
        rows: np.ndarray,
        *,
        batch_size: int,
        num_workers: int,
        shuffle_seed: int | None = None,
        on_bad_image: str = "placeholder",
        pin_memory: bool = False,
        world: World | None = None,
    ) -> None:
        """See `RowDataset`, `Tokens` and `EpochSampler`.

        Args:
            dataset: of the pictures.
            tokens: of the whole catalogue.
            targets: int64 (rows of the catalogue,).
            rows: int64, positions in the catalogue.
            batch_size: rows a batch, of all processes together.
            num_workers: processes that read pictures; 0 reads them in a thread beside the model.
            shuffle_seed: of the order; None for the order of `rows`.
            on_bad_image: "placeholder" or "error".
            pin_memory: whether batches lie in page-locked memory.
            world: the processes that share each batch.
        """
        self.rows = rows
        self.unreadable: set[str] = set()  # a sentence per picture met so far
        self._on_bad_image = on_bad_image
        self.batch_size = batch_size
        self._sampler = EpochSampler(rows, batch_size, shuffle_seed=shuffle_seed, world=world)
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=num_workers,
            collate_fn=partial(_collate, tokens, torch.from_numpy(targets)),
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            # its own, since each pass draws a seed for the workers: the model's dropout must not notice
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order and the random views of the next pass, and the number of its first batch."""
        self._sampler.epoch, self._sampler.start = epoch, start

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one pass.

        Raises:
            PictureError: a picture can't be decoded and `on_bad_image` is "error".
        """
        for batch in self._loader if self._loader.num_workers else ahead(self._loader):
            if batch.unreadable and self._on_bad_image == "error":
                raise unreadable(batch.unreadable[0])
            self.unreadable.update(batch.unreadable)
            yield batch


def ahead(batches: Iterable[T]) -> Iterator[T]:
    """The batches, each made while the one before is used.

    A thread does it: decoding and resizing leave Python's lock to the model, which they would otherwise keep waiting.
    """
    source = iter(batches)
    thread = ThreadPoolExecutor(1)
    try:
        coming = thread.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, source, None)
            yield batch
    finally:
        # given up halfway, this may be cleared away by the thread itself, which can't wait for its own end
        thread.shutdown(wait=False, cancel_futures=True)


def unreadable(sentence: str) -> PictureError:
    """The error for a picture that can't be decoded, where `data.on_bad_image` is "error"."""
    return PictureError(f"unreadable picture {sentence}; mend or remove it, or set data.on_bad_image=placeholder")


def _collate(tokens: Tokens, targets: torch.Tensor, examples: Sequence[Example]) -> Batch:
    rows = torch.tensor([example.sample.row for example in examples])
    fillers = torch.tensor([example.sample.is_filler for example in examples])
    input_ids, attention_mask = tokens.batch(rows)
    counts = torch.tensor([len(example.images) for example in examples])
    return Batch(
        rows=rows,
        images=torch.cat([example.images for example in examples]),
        picture_row=torch.repeat_interleave(torch.arange(len(examples)), counts),
        input_ids=input_ids,
        attention_mask=attention_mask,
        targets=torch.where(fillers, NO_TARGET, targets[rows]),
        unreadable=tuple(sentence for example in examples for sentence in example.unreadable),
    )
