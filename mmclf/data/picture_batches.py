"""Single pictures as frozen towers are shown them; rows come together again after encoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import PictureError
from .images import Transform
from .pictures import Pictures
from .pixel_spool import PixelSpool
from .row_batches import ahead
from .views import View


@dataclass(frozen=True)
class PictureBatch:
    """Views that were decoded.

    Attributes:
        numbers: int64 (n,), which of the views these are.
        images: uint8 (n, 3, size, size).
        unreadable: number and a sentence for each that couldn't be decoded.
        others: the same at other sizes.
    """

    numbers: np.ndarray
    images: torch.Tensor
    unreadable: tuple[tuple[int, str], ...] = ()
    others: tuple[torch.Tensor, ...] = ()

    def pin_memory(self) -> "PictureBatch":
        """The batch in page-locked memory (called by DataLoader)."""
        return PictureBatch(self.numbers, self.images.pin_memory(), self.unreadable, self.others)


class PictureDataset(Dataset[tuple[int, list[torch.Tensor] | str]]):
    """Views one at a time, as loader workers make them: the number, and the picture at each size or what is wrong."""

    def __init__(self, views: Sequence[View | None], pictures: Pictures, others: Sequence[Pictures] = ()) -> None:
        """`views` of `pictures`, None for the black placeholder; `others` are the same pictures at other sizes."""
        self._views = views
        self._every = (pictures, *others)

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, number: int) -> tuple[int, list[torch.Tensor] | str]:
        view = self._views[number]
        if view is None:
            return number, [pictures.placeholder() for pictures in self._every]
        try:
            return number, [pictures.view(view) for pictures in self._every]
        except PictureError as error:
            return number, str(error)


def decode(
    views: Sequence[View | None],
    pictures: Pictures,
    transform: Transform,
    spool: PixelSpool | None,
    *,
    batch_size: int,
    num_workers: int,
    pin_memory: bool,
) -> Iterator[PictureBatch]:
    """Views as pixels: those that the spool has from there, the others from their files.

    Args:
        views: None for the black placeholder.
        pictures: that they are views of.
        transform: of `pictures`.
        spool: is given what is decoded here, at the sizes that are wanted later.
        batch_size: views at a time.
        num_workers: processes that decode; 0 decodes in a thread beside the model.
        pin_memory: whether decoded batches lie in page-locked memory.
    """
    spooled = np.array([n for n, view in enumerate(views) if spool and view and spool.has(transform, view.name)], int)
    for start in range(0, len(spooled), batch_size):
        part = spooled[start : start + batch_size]
        names = [view.name for n in part if (view := views[n]) is not None]
        assert spool is not None  # noqa: S101 - it has them
        yield PictureBatch(part, torch.stack([spool.get(transform, name) for name in names]))
    rest = np.setdiff1d(np.arange(len(views)), spooled)
    if not len(rest):
        return
    later = spool.others(transform) if spool is not None else []
    loader: DataLoader[Any] = DataLoader(
        PictureDataset([views[n] for n in rest], pictures, pictures.at_other_sizes(later)),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=_stack,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )
    batches: Iterator[PictureBatch] = iter(loader if num_workers else ahead(loader))
    for batch in batches:
        numbers = rest[batch.numbers]
        if spool is not None and len(numbers):
            for each, images in zip([transform, *later], (batch.images, *batch.others), strict=True):
                for number, image in zip(numbers, images, strict=True):
                    if (view := views[number]) is not None:
                        spool.put(each, view.name, image)
        bad = tuple((int(rest[number]), sentence) for number, sentence in batch.unreadable)
        yield PictureBatch(numbers, batch.images, bad)


def _stack(items: Sequence[tuple[int, list[torch.Tensor] | str]]) -> PictureBatch:
    made = [(number, sizes) for number, sizes in items if not isinstance(sizes, str)]
    bad = tuple((number, sentence) for number, sentence in items if isinstance(sentence, str))
    stacked = tuple(torch.stack(same_size) for same_size in zip(*(sizes for _, sizes in made), strict=True))
    images, *others = stacked or (torch.empty(0, dtype=torch.uint8),)
    return PictureBatch(np.array([number for number, _ in made], dtype=np.int64), images, bad, tuple(others))
