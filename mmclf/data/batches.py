"""Batches: rows of a catalogue as tensors.

A row is asked for as `(row, epoch)`. Its random crops are a function of (seed, epoch, row id) alone, so the
number of workers, the batch size and the order of the rows change nothing.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import PictureError
from ..runtime.distributed import World
from ..runtime.seeds import derive_seed
from .catalog import Catalog
from .pictures import Pictures, View

# the eval view, where a training view has the number of its epoch
EVAL = -1
# a row, its pictures, what couldn't be read, its pictures at other sizes
Item = tuple[int, torch.Tensor, list[str], list[torch.Tensor]]
# target of a row that only fills up a process's share of a batch; torch's cross-entropy leaves it out
FILLER = -100


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts of a catalogue.

    Attributes:
        input_ids: int32 (rows, context).
        attention_mask: bool (rows, context), true on real tokens.
        is_truncated: bool (rows,), whether the text didn't fit.
        cuttable: whether a batch may be cut at its longest text without another result.
        first_row: position in the catalogue of the first row here.
        multiple: what a batch's length is a multiple of, where it is cut. With 16 a CPU computes a text in bfloat16 the
            same to the bit whatever the length of the others: only the last, incomplete 16 are rounded differently.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    is_truncated: torch.Tensor
    cuttable: bool = False
    first_row: int = 0
    multiple: int = 1

    @property
    def truncated(self) -> int:
        """Number of rows whose text didn't fit."""
        return int(self.is_truncated.sum())

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """input_ids int64 (B, length) and attention_mask bool (B, length) of some rows, as short as may be."""
        rows = rows - self.first_row
        mask = self.attention_mask[rows]
        length = mask.shape[1]
        if self.cuttable:
            # one more: where padding and end token have one id, the mask leaves out the end token
            needed = int(mask.sum(dim=1).max()) + 1
            length = min(length, -(-needed // self.multiple) * self.multiple)
        return self.input_ids[rows, :length].long(), mask[:, :length]


@dataclass(frozen=True)
class Batch:
    """B rows with P pictures.

    Attributes:
        rows: int64 (B,), positions in the catalogue.
        images: uint8 (P, 3, size, size).
        picture_row: int64 (P,), the position in this batch (0..B-1) of the row that each picture belongs to.
        input_ids: int64 (B, length); `length` is the tower's context or what the longest text needs.
        attention_mask: bool (B, length).
        targets: int64 (B,), -1 where the catalogue has no labels, FILLER on a row that doesn't count.
        unreadable: row and a sentence for each picture that could not be decoded.
        also: the images at other sizes; they stay where they are.
    """

    rows: torch.Tensor
    images: torch.Tensor
    picture_row: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: torch.Tensor
    unreadable: tuple[tuple[int, str], ...] = ()
    also: tuple[torch.Tensor, ...] = ()

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
class FeatureBatch:
    """B rows as features.

    Attributes:
        rows: int64 (B,), positions in the catalogue.
        features: float32 (B, image_dim + text_dim).
        targets: int64 (B,).
    """

    rows: torch.Tensor
    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "FeatureBatch":
        """The batch with its tensors on `device`."""
        return replace(self, features=self.features.to(device), targets=self.targets.to(device))


@dataclass(frozen=True)
class RowDataset(Dataset[Item]):
    """The pictures of one row at a time, as DataLoader workers make them."""

    catalog: Catalog
    pictures: Pictures
    multi_image_mode: str
    seed: int
    also: Sequence[Pictures] = ()  # the same at other sizes

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """For (row, epoch): the row, its pictures uint8 (n >= 1, 3, size, size), what couldn't be read, other sizes.

        A filler is asked for as ~row.
        """
        row, epoch = max(key[0], ~key[0]), key[1]
        every = (self.pictures, *self.also)
        views: list[list[torch.Tensor]] = []  # of each picture, at each size
        unreadable = []
        for view in views_of_row(self.catalog, row, epoch, self.multi_image_mode, self.seed):
            try:
                views.append([pictures.view(view) for pictures in every])
            except PictureError as error:
                unreadable.append(str(error))
        views = views or [[pictures.placeholder() for pictures in every]]
        first, *others = (torch.stack(same_size) for same_size in zip(*views, strict=True))
        return key[0], first, unreadable, others


def views_of_row(catalog: Catalog, row: int, epoch: int, multi_image_mode: str, seed: int) -> list[View]:
    """The views that a row is shown by in an epoch; none where it has no picture."""
    row_id, names = catalog.ids[row], catalog.pictures[row]
    if names and multi_image_mode == "random" and epoch != EVAL:
        chosen = [derive_seed(seed, epoch, row_id, "picture") % len(names)]
    elif multi_image_mode == "mean_pool":
        chosen = list(range(len(names)))
    else:
        chosen = [0] if names else []
    return [View(names[n], None if epoch == EVAL else derive_seed(seed, epoch, row_id, n)) for n in chosen]


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of `(row, epoch)`: shuffled by (seed, epoch) for training, in order for evaluation.

    With several processes each gets its share of every batch, but at least one row: a filler (~row) where the last
    batch has fewer rows than there are processes.
    """

    def __init__(
        self, rows: np.ndarray, batch_size: int, *, shuffle_seed: int | None = None, world: World | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.world = world or World()
        self.epoch = EVAL if shuffle_seed is None else 0

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rows = self.rows
        if self.shuffle_seed is not None:
            generator = torch.Generator().manual_seed(derive_seed(self.shuffle_seed, self.epoch, "order"))
            rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            share = self.world.share(batch)
            yield [(int(row), self.epoch) for row in (share if len(share) else ~batch[:1])]


class Loader:
    """Batches over some rows of a catalogue; iterate it once an epoch, after `set_epoch` when training."""

    def __init__(
        self,
        dataset: RowDataset,
        tokens: Tokens,
        targets: np.ndarray | None,
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
            targets: int64 (rows of the catalogue,); None without labels.
            rows: int64, positions in the catalogue.
            batch_size: rows a batch, of all processes together.
            num_workers: processes that read pictures; 0 reads them in a thread beside the model.
            shuffle_seed: of the order; None for the order of `rows`.
            on_bad_image: "placeholder" or "error".
            pin_memory: whether batches lie in page-locked memory.
            world: the processes that share each batch.
        """
        self.rows = rows
        self.unreadable: dict[str, int] = {}  # a sentence per picture met so far, and its row
        self._on_bad_image = on_bad_image
        self.batch_size = batch_size
        self._sampler = EpochSampler(rows, batch_size, shuffle_seed=shuffle_seed, world=world)
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=num_workers,
            collate_fn=partial(_collate, tokens, None if targets is None else torch.from_numpy(targets)),
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            # its own, since each pass draws a seed for the workers: the model's dropout must not notice
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the random views of the next pass."""
        self._sampler.epoch = epoch

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one pass.

        Raises:
            PictureError: a picture can't be decoded and `on_bad_image` is "error".
        """
        for batch in self._loader if self._loader.num_workers else ahead(self._loader):
            if batch.unreadable and self._on_bad_image == "error":
                sentence = batch.unreadable[0][1]
                raise PictureError(
                    f"unreadable picture {sentence}; mend or remove it, or set data.on_bad_image=placeholder"
                )
            self.unreadable.update((sentence, row) for row, sentence in batch.unreadable)
            yield batch


def ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches, each made while the one before is used.

    A thread does it: decoding and resizing leave Python's lock to the model, which they would otherwise keep waiting.
    """
    source = iter(batches)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, source, None)
            yield batch


def _collate(tokens: Tokens, targets: torch.Tensor | None, items: Sequence[Item]) -> Batch:
    keys = torch.tensor([row for row, *_ in items])
    rows = torch.maximum(keys, ~keys)
    input_ids, attention_mask = tokens.batch(rows)
    counts = torch.tensor([len(pictures) for _, pictures, *_ in items])
    return Batch(
        rows=rows,
        images=torch.cat([pictures for _, pictures, *_ in items]),
        picture_row=torch.repeat_interleave(torch.arange(len(items)), counts),
        input_ids=input_ids,
        attention_mask=attention_mask,
        targets=torch.full_like(rows, -1) if targets is None else torch.where(keys < 0, FILLER, targets[rows]),
        unreadable=tuple((max(key, ~key), reason) for key, _, bad, _ in items for reason in bad),
        also=tuple(torch.cat(same_size) for same_size in zip(*(others for *_, others in items), strict=True)),
    )
