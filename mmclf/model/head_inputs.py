"""Rows as heads are given them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from .identity import BackboneIdentity


class PictureFeatures(NamedTuple):
    """Features of n pictures, or of the pictures of n rows; each (n, 0) where it isn't wanted.

    Attributes:
        images: float32 (n, image_dim), of the image tower.
        layers: float32 (n, layers_dim), of its last layers.
        outlines: float32 (n, OUTLINE_DIM).
    """

    images: np.ndarray
    layers: np.ndarray
    outlines: np.ndarray

    @classmethod
    def of(cls, found: np.ndarray, identity: BackboneIdentity) -> "PictureFeatures":
        """From one after the other, float32 (n, image_dim), or with details (n, image_dim + details_dim)."""
        image_dim, layers_end = identity.image_dim, identity.image_dim + identity.layers_dim
        return cls(found[:, :image_dim], found[:, image_dim:layers_end], found[:, layers_end:])


@dataclass(frozen=True)
class HeadInputs:
    """What a head is given of n rows.

    Attributes:
        images: float32 (n, image_dim), features of the pictures; of a black one where there is none. (n, 0) where no
            head reads them.
        texts: float32 (n, text_dim), features of the texts; of an empty one where there is none. The same.
        has_picture: bool (n,), whether a row has a picture that could be decoded.
        strings: the texts themselves.
        layers: float32 (n, layers_dim), of the image tower's last layers; as `images`, (n, 0) where no head reads them.
        outlines: float32 (n, OUTLINE_DIM), where the pictures have edges; the same.
        titles: float32 (n, text_dim), features of the first text fields alone; (n, 0) where no head reads them or
            there is only one field.
        title_strings: these fields themselves; "" where there is only one.
    """

    images: np.ndarray
    texts: np.ndarray
    has_picture: np.ndarray
    strings: Sequence[str]
    layers: np.ndarray
    outlines: np.ndarray
    titles: np.ndarray
    title_strings: Sequence[str]

    @classmethod
    def of(
        cls,
        strings: Sequence[str],
        images: np.ndarray | None,
        has_picture: np.ndarray | None,
        texts: np.ndarray | None,
        titles: np.ndarray | None = None,
        title_strings: Sequence[str] | None = None,
        layers: np.ndarray | None = None,
        outlines: np.ndarray | None = None,
    ) -> "HeadInputs":
        """Rows of which some features may not be wanted: those are 0 wide, and no row has one."""
        nothing = np.empty((len(strings), 0), dtype=np.float32)
        if has_picture is None or all(each is None for each in (images, layers, outlines)):
            has_picture = np.zeros(len(strings), dtype=bool)
        wanted = (nothing if each is None else each for each in (images, layers, outlines, texts, titles))
        images, layers, outlines, texts, titles = wanted
        title_strings = [""] * len(strings) if title_strings is None else title_strings
        return cls(images, texts, has_picture, strings, layers, outlines, titles, title_strings)

    def __len__(self) -> int:
        return len(self.strings)

    @cached_property
    def features(self) -> np.ndarray:
        """float32 (n, image_dim + text_dim)."""
        return np.concatenate([self.images, self.texts], axis=1)

    @property
    def has_text(self) -> np.ndarray:
        """Bool (n,), whether a row has a text."""
        return np.array([bool(text) for text in self.strings], dtype=bool)

    @property
    def has_title(self) -> np.ndarray:
        """Bool (n,), whether a row has a title."""
        return np.array([bool(title) for title in self.title_strings], dtype=bool)

    def without_picture(self) -> "HeadInputs":
        """The rows as if none had a picture, for a head that looks at `has_picture`."""
        return replace(self, has_picture=np.zeros(len(self), dtype=bool))

    def without_text(self) -> "HeadInputs":
        """The rows as if none had a text, for a head that looks at `has_text` and `has_title`."""
        return replace(self, strings=[""] * len(self), title_strings=[""] * len(self))

    def take(self, rows: np.ndarray) -> "HeadInputs":
        """The rows at these positions."""
        strings, titles = ([each[row] for row in rows] for each in (self.strings, self.title_strings))
        return self._at(rows, strings, titles)

    def slice(self, start: int, stop: int) -> "HeadInputs":
        """The rows from position `start` to before `stop`."""
        part = slice(start, stop)
        return self._at(part, self.strings[part], self.title_strings[part])

    def _at(self, rows: Any, strings: Sequence[str], title_strings: Sequence[str]) -> "HeadInputs":
        return HeadInputs(
            self.images[rows],
            self.texts[rows],
            self.has_picture[rows],
            strings,
            self.layers[rows],
            self.outlines[rows],
            self.titles[rows],
            title_strings,
        )


class ScoringHead(Protocol):
    """A trained head."""

    @property
    def reads(self) -> Sequence[str]:
        """Names of the features that it needs: image, layers, outline, text, title."""

    def probabilities(self, rows: HeadInputs) -> torch.Tensor:
        """float32 (n, classes), on the device of the head."""
