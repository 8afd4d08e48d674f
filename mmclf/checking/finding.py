"""What the doctor says of a catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Protocol

import numpy as np

from ..config import Config
from ..data.catalog import Catalog
from .duplicates import Duplicates
from .looks import Looks
from .sets import members

# rows that a finding names
NAMED = 5


class Level(IntEnum):
    """How much a finding matters."""

    NOTE = 0
    DOUBTFUL = 1
    WRONG = 2  # training would give a wrong result, or none


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Attributes:
        key: of its kind, as `unreadable-pictures`.
        level: how much it matters.
        sentence: what was found, for people.
        mend: what to do, as an override or a sentence; "" where nothing need be done.
        ids: of the rows; none where it is about all of them.
        is_test: the rows are those of the test table.
    """

    key: str
    level: Level
    sentence: str
    mend: str = ""
    ids: Sequence[str] = ()
    is_test: bool = False


class CountTokens(Protocol):
    """A tokenizer that is asked for numbers."""

    def __call__(self, texts: Sequence[str], /) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each text, int64 (rows,), and how many of them are the unknown one."""

    def rewrites(self, script: str, /) -> bool:
        """Whether words of a script, as `Cyrillic`, are given to the tokenizer in Latin letters."""


@dataclass(frozen=True)
class Subject:
    """A catalogue and what was seen of it.

    Attributes:
        catalog: with labels.
        config: resolved; folds, groups and sizes are judged under it.
        looks: of all pictures, of the test rows too.
        duplicates: of the rows, and behind them those of the test table.
        folds: int64 (rows,), of this configuration; None where they can't be cut.
        fold_problem: why; "" where they can.
        plain_folds: int64 (rows,), the same without groups; None where they can't be cut.
        test: rows that are scored later; None where there are none.
        count_tokens: None where no tokenizer is at hand.
        token_problem: why; "" where one is.
        groups_csv: where the groups will lie, for the override.
    """

    catalog: Catalog
    config: Config
    looks: Looks
    duplicates: Duplicates
    folds: np.ndarray | None
    fold_problem: str
    plain_folds: np.ndarray | None
    test: Catalog | None = None
    count_tokens: CountTokens | None = None
    token_problem: str = ""
    groups_csv: str = "groups.csv"

    @property
    def labels(self) -> list[str]:
        """Of the rows of the catalogue."""
        return self.catalog.labels or []

    @cached_property
    def picture_rows(self) -> dict[str, list[str]]:
        """Ids of the rows of the catalogue that have each picture, by its name."""
        found: dict[str, list[str]] = {}
        for row_id, names in zip(self.catalog.ids, self.catalog.rows.pictures, strict=True):
            for name in names:
                found.setdefault(name, []).append(row_id)
        return found

    def train(self, sets: np.ndarray) -> np.ndarray:
        """The part of sets, int64 (rows and test rows,), that is about the catalogue."""
        return sets[: len(self.catalog)]

    def train_sets(self, sets: np.ndarray) -> list[np.ndarray]:
        """int64 positions of the catalogue's rows in each set of several of them; large sets first."""
        return members(self.train(sets))

    def ids_of(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Of rows of the catalogue."""
        return [self.catalog.ids[int(row)] for row in rows]


def counted(count: int, what: str) -> str:
    """`1 row`, `2 rows`, `3 classes`."""
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def share_of(count: float, all_of_them: int) -> str:
    """A share for people."""
    share = count / max(1, all_of_them)
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
