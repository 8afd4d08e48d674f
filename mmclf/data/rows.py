"""Products as they are encoded and scored, wherever they come from: a table, a request, a drawing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Rows:
    """One row per product.

    Attributes:
        ids: unique strings.
        texts: the text of each row, `""` where there is none.
        titles: its first text field alone, the same; None where there is only one field.
        pictures: names of each row's pictures, the first one first; empty where there is none.
        picture_source: where the bytes of the pictures are: a folder of files with these names, or contents by name.
    """

    ids: list[str]
    texts: list[str]
    pictures: list[tuple[str, ...]]
    picture_source: Path | Mapping[str, bytes]
    titles: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: np.ndarray) -> "Rows":
        """The rows at these positions."""
        titles = None if self.titles is None else [self.titles[row] for row in positions]
        return Rows(
            [self.ids[row] for row in positions],
            [self.texts[row] for row in positions],
            [self.pictures[row] for row in positions],
            self.picture_source,
            titles,
        )

    def slice(self, start: int, stop: int) -> "Rows":
        """The rows from position `start` to before `stop`."""
        titles = None if self.titles is None else self.titles[start:stop]
        return Rows(
            self.ids[start:stop], self.texts[start:stop], self.pictures[start:stop], self.picture_source, titles
        )
