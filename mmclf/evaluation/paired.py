"""Two runs on the same rows, each row scored by both: how much they differ, and which rows the one mends or breaks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import LEVEL, Interval, figures_of_scores, mean_interval, resampled
from .row_scores import RowScores

# figures of which less is better
LESS_IS_BETTER = ("loss", "calibration_error")


@dataclass(frozen=True)
class Pair:
    """Of rows by a first run and by another one.

    Attributes:
        differences: the other's figures less the first's, by the names in intervals.py.
        mended: bool (rows,), wrong by the first and right by the other.
        broken: bool (rows,), the other way round.
    """

    differences: dict[str, Interval]
    mended: np.ndarray
    broken: np.ndarray

    def verdict(self, name: str = "top1") -> str:
        """What is shown of a figure: that the other run is `better`, `worse`, or `open`."""
        found = self.differences[name]
        if found.low <= 0 <= found.high:
            return "open"
        return "better" if (found.value > 0) != (name in LESS_IS_BETTER) else "worse"


@dataclass(frozen=True)
class ClassChange:
    """Of a class.

    Attributes:
        number: position of the class.
        rows: how many there are; at least one.
        before, now: share of them that the first run and the other one get right.
        change: of this share.
        mended, broken: rows.
    """

    number: int
    rows: int
    before: float
    now: float
    change: Interval
    mended: int
    broken: int


def pair(first: RowScores, other: RowScores, groups: Sequence[str] | None = None) -> Pair:
    """Compare two runs: percentile bootstrap of the differences, both judged on the same drawn rows or groups.

    Args:
        first: of n rows.
        other: of the same rows and classes, in the same order.
        groups: of the rows, drawn whole; None where each row stands alone.
    """
    draws = [resampled(each, groups) for each in (first, other)]
    values = [figures_of_scores(each) for each in (first, other)]
    found = {}
    for name in values[0]:
        value = values[1][name] - values[0][name]
        drawn = draws[1][name] - draws[0][name]
        # as for the figures themselves: a resample's calibration error is larger than that of the rows
        low, high = np.quantile(drawn - drawn.mean() + value, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found[name] = Interval(value, float(low), float(high))
    return Pair(found, ~first.hits & other.hits, first.hits & ~other.hits)


def class_changes(first: RowScores, other: RowScores, groups: Sequence[str] | None = None) -> list[ClassChange]:
    """How the share of right rows of each class changes, the most rows first; classes without rows are left out.

    Args:
        first: of n rows.
        other: of the same rows and classes, in the same order.
        groups: of the rows; None where each stands alone.
    """
    names = None if groups is None else np.unique(groups, return_inverse=True)[1]
    gains = other.hits.astype(np.int64) - first.hits
    found = []
    for number in np.unique(first.targets):
        here = first.targets == number
        change = mean_interval(gains[here].astype(float), None if names is None else names[here])
        mended, broken = int((gains[here] > 0).sum()), int((gains[here] < 0).sum())
        before, now = float(first.hits[here].mean()), float(other.hits[here].mean())
        found.append(ClassChange(int(number), int(here.sum()), before, now, change, mended, broken))
    return sorted(found, key=lambda each: (-abs(each.mended - each.broken), -each.mended - each.broken, each.number))
