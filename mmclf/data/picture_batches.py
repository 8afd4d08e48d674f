"""Single pictures as they are shown to frozen towers; rows come together again after encoding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import PictureError
from .pictures import Pictures
from .views import View


@dataclass(frozen=True)
class Shot:
    """One view of one picture; None for the black placeholder."""

    view: View | None


@dataclass(frozen=True)
class ShotBatch:
    """Shots that were decoded.

    Attributes:
        numbers: int64 (n,), which of the shots these are.
        images: uint8 (n, 3, size, size).
        unreadable: number and a sentence for each that couldn't be decoded.
        others: the same at other sizes.
    """

    numbers: np.ndarray
    images: torch.Tensor
    unreadable: tuple[tuple[int, str], ...] = ()
    others: tuple[torch.Tensor, ...] = ()

    def pin_memory(self) -> "ShotBatch":
        """The batch in page-locked memory (called by DataLoader)."""
        return ShotBatch(self.numbers, self.images.pin_memory(), self.unreadable, self.others)


class ShotDataset(Dataset[tuple[int, list[torch.Tensor] | str]]):
    """Shots one at a time, as loader workers make them: the number, and the picture at each size or what is wrong."""

    def __init__(self, shots: Sequence[Shot], pictures: Pictures, others: Sequence[Pictures] = ()) -> None:
        self._shots = shots
        self._every = (pictures, *others)

    def __len__(self) -> int:
        return len(self._shots)

    def __getitem__(self, number: int) -> tuple[int, list[torch.Tensor] | str]:
        view = self._shots[number].view
        if view is None:
            return number, [pictures.placeholder() for pictures in self._every]
        try:
            return number, [pictures.view(view) for pictures in self._every]
        except PictureError as error:
            return number, str(error)


def stack_shots(items: Sequence[tuple[int, list[torch.Tensor] | str]]) -> ShotBatch:
    """A batch of what the dataset gives."""
    made = [(number, sizes) for number, sizes in items if not isinstance(sizes, str)]
    bad = tuple((number, sentence) for number, sentence in items if isinstance(sentence, str))
    stacked = tuple(torch.stack(same_size) for same_size in zip(*(sizes for _, sizes in made), strict=True))
    images, *others = stacked or (torch.empty(0, dtype=torch.uint8),)
    return ShotBatch(np.array([number for number, _ in made], dtype=np.int64), images, bad, tuple(others))
