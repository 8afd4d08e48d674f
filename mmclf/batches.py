"""Batches: rows of a catalogue as tensors.

A row is asked for as `(row, epoch)`. Its random crops are a function of (seed, epoch, row id) alone, so the
number of workers, the batch size and the order of the rows change nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from .catalog import Catalog
from .errors import PictureError
from .images import Transform, load_picture
from .seeds import derive_seed

# the eval view, where a training view has the number of its epoch
EVAL = -1


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts of a catalogue.

    Attributes:
        input_ids: int32 (rows, context).
        attention_mask: bool (rows, context), true on real tokens.
        truncated: number of rows whose text didn't fit.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    truncated: int


@dataclass(frozen=True)
class Batch:
    """B rows with P pictures.

    Attributes:
        rows: int64 (B,), positions in the catalogue.
        images: float32 (P, 3, size, size), normalised.
        picture_row: int64 (P,), the position in this batch (0..B-1) of the row that each picture belongs to.
        input_ids: int64 (B, context).
        attention_mask: bool (B, context).
        targets: int64 (B,), -1 where the catalogue has no labels.
        unreadable: a sentence for each picture that could not be decoded.
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
class RowDataset(Dataset[tuple[int, torch.Tensor, list[str]]]):
    """The pictures of one row at a time, as DataLoader workers make them."""

    catalog: Catalog
    transform: Transform
    multi_image_mode: str
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, torch.Tensor, list[str]]:
        """For (row, epoch): the row, its pictures float32 (n >= 1, 3, size, size), what couldn't be read."""
        row, epoch = key
        row_id, names = self.catalog.ids[row], self.catalog.pictures[row]
        if names and self.multi_image_mode == "random" and epoch != EVAL:
            chosen = [derive_seed(self.seed, epoch, row_id, "picture") % len(names)]
        elif self.multi_image_mode == "mean_pool":
            chosen = list(range(len(names)))
        else:
            chosen = [0] if names else []
        views, unreadable = [], []
        for number in chosen:
            try:
                picture = load_picture(self.catalog.image_root / names[number])
            except PictureError as error:
                unreadable.append(str(error))
                continue
            if epoch == EVAL:
                views.append(self.transform.eval_view(picture))
            else:
                views.append(self.transform.train_view(picture, derive_seed(self.seed, epoch, row_id, number)))
        return row, torch.stack(views or [self.transform.placeholder()]), unreadable


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of `(row, epoch)`: shuffled by (seed, epoch) for training, in order for evaluation."""

    def __init__(self, rows: np.ndarray, batch_size: int, *, shuffle_seed: int | None = None) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.epoch = EVAL if shuffle_seed is None else 0

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rows = self.rows
        if self.shuffle_seed is not None:
            generator = torch.Generator().manual_seed(derive_seed(self.shuffle_seed, self.epoch, "order"))
            rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        for start in range(0, len(rows), self.batch_size):
            yield [(int(row), self.epoch) for row in rows[start : start + self.batch_size]]


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
    ) -> None:
        """See `RowDataset` and `Tokens`; `targets` int64 (rows of the catalogue,), `rows` int64 positions."""
        self.rows = rows
        self.unreadable: set[str] = set()  # one sentence per picture met so far
        self._on_bad_image = on_bad_image
        self.batch_size = batch_size
        self._sampler = EpochSampler(rows, batch_size, shuffle_seed=shuffle_seed)
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
        for batch in self._loader:
            if batch.unreadable and self._on_bad_image == "error":
                raise PictureError(
                    f"unreadable picture {batch.unreadable[0]}; mend or remove it, or set data.on_bad_image=placeholder"
                )
            self.unreadable.update(batch.unreadable)
            yield batch


def _collate(
    tokens: Tokens, targets: torch.Tensor | None, items: Sequence[tuple[int, torch.Tensor, list[str]]]
) -> Batch:
    rows = torch.tensor([row for row, _, _ in items])
    counts = torch.tensor([len(pictures) for _, pictures, _ in items])
    return Batch(
        rows=rows,
        images=torch.cat([pictures for _, pictures, _ in items]),
        picture_row=torch.repeat_interleave(torch.arange(len(items)), counts),
        input_ids=tokens.input_ids[rows].long(),
        attention_mask=tokens.attention_mask[rows],
        targets=torch.full_like(rows, -1) if targets is None else targets[rows],
        unreadable=tuple(reason for _, _, bad in items for reason in bad),
    )
