"""The products of the training table that are most like one that is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.rows import Rows
from ..model.head_inputs import HeadInputs
from ..reporting.gallery import shorten, thumbnail

COUNT = 6
TEXT = 90  # characters of a product's text that are shown


@dataclass(frozen=True)
class Neighbour:
    """A product of the training table.

    Attributes:
        id: of its row.
        text: its beginning: the title where there is one.
        label: that the table gives it.
        similarity: cosine, in [-1, 1].
        picture: its first one as a `data:` address; "" where it has none that can be read.
        note: in the picture's place.
    """

    id: str
    text: str
    label: str
    similarity: float
    picture: str
    note: str


class Neighbours:
    """A training table by the features of its products: pictures and texts side by side, each part of length 1."""

    def __init__(self, rows: Rows, labels: Sequence[str], inputs: HeadInputs) -> None:
        """
        Args:
            rows: the products.
            labels: of each.
            inputs: their features, by the towers that a product is asked about with.
        """
        self._rows, self._labels = rows, labels
        self._features = _joined(inputs)

    def nearest(self, inputs: HeadInputs) -> list[Neighbour]:
        """The COUNT most similar products, the first one first.

        A part that a product lacks counts for nothing, on either side.

        Args:
            inputs: features of one product.
        """
        similarities = self._features @ _joined(inputs)[0]
        order = np.argsort(-similarities, kind="stable")[:COUNT]
        return [self._neighbour(int(row), float(similarities[row])) for row in order]

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        rows = self._rows
        title = rows.titles[row] if rows.titles is not None else ""
        text = shorten(title or rows.texts[row], TEXT)
        return Neighbour(rows.ids[row], text, self._labels[row], similarity, *thumbnail(rows, row))


def _joined(inputs: HeadInputs) -> np.ndarray:
    """float32 (n, image_dim + text_dim), rows of length 1, or 0 for those that have nothing."""
    parts = [
        _unit(inputs.images) * inputs.has_picture[:, None],
        _unit(inputs.texts) * inputs.has_text[:, None],
    ]
    return _unit(np.concatenate(parts, axis=1))


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: np.ndarray = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found.astype(np.float32)
