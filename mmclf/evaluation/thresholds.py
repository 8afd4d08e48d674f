"""From which confidence on rows can be labelled without a person, at a wanted share of right ones.

Also known as selective classification (Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017).
"""

from dataclasses import dataclass

import numpy as np

from .probabilities import ProbabilityTable

PRECISIONS = (0.9, 0.95, 0.98, 0.99)
# that a threshold must have above it, to say anything; and so many that one wrong row still fits the precision
LEAST_ROWS = 30
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Threshold:
    """Where rows are sure enough.

    Attributes:
        precision: that was asked for.
        confidence: from which on a row is labelled.
        coverage: share of the rows that is.
    """

    precision: float
    confidence: float
    coverage: float


@dataclass(frozen=True)
class Held:
    """What a threshold reached on rows that it wasn't chosen on.

    Attributes:
        precision: share of right ones among the labelled rows; nan where none is.
        low, high: its 95 % interval (Wilson).
        coverage: share of the rows that was labelled.
    """

    precision: float
    low: float
    high: float
    coverage: float


def find_thresholds(table: ProbabilityTable) -> tuple[Threshold, ...]:
    """For each of PRECISIONS the lowest confidence that reaches it; left out where none does.

    Args:
        table: out of fold.
    """
    confidence, hits = _sure(table)
    found = []
    for precision in PRECISIONS:
        count = _count(confidence, hits, precision)
        if count:
            least = float(np.sort(confidence)[::-1][count - 1])
            found.append(Threshold(precision, least, count / len(hits)))
    return tuple(found)


def hold_out(table: ProbabilityTable, precision: float) -> Held:
    """What a precision's threshold is worth: each fold's rows judged by the threshold of the other folds' rows.

    Args:
        table: out of fold, with folds.
        precision: asked for, in (0, 1).
    """
    assert table.folds is not None  # noqa: S101 - it is out of fold
    confidence, hits = _sure(table)
    labelled = np.zeros(len(hits), dtype=bool)
    for fold in np.unique(table.folds):
        here = table.folds == fold
        count = _count(confidence[~here], hits[~here], precision)
        if count:
            labelled[here] = confidence[here] >= np.sort(confidence[~here])[::-1][count - 1]
    count = int(labelled.sum())
    if not count:
        return Held(float("nan"), float("nan"), float("nan"), 0.0)
    share = float(hits[labelled].mean())
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * float(np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)))
    return Held(share, middle - half, min(1.0, middle + half), count / len(hits))


def _sure(table: ProbabilityTable) -> tuple[np.ndarray, np.ndarray]:
    """Confidence float32 (rows,), and bool (rows,) whether the most probable class is right."""
    return table.probabilities.max(axis=1), table.probabilities.argmax(axis=1) == table.targets()


def _count(confidence: np.ndarray, hits: np.ndarray, precision: float) -> int:
    """How many of the surest rows there are, at most, with at least this share of right ones among them."""
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    right = np.cumsum(hits[order]) / np.arange(1, len(hits) + 1)
    # rows of the same confidence are labelled together
    ends = np.r_[ordered[1:] < ordered[:-1], True] if len(ordered) else np.zeros(0, dtype=bool)
    least = max(LEAST_ROWS, round(1 / (1 - precision)))
    reached = np.flatnonzero(ends & (right >= precision) & (np.arange(1, len(hits) + 1) >= least))
    return int(reached[-1]) + 1 if len(reached) else 0
