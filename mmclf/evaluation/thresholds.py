"""From which confidence on rows can be labelled without a person, at a wanted share of right ones.

Also known as selective classification (Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017).
"""

from dataclasses import dataclass

import numpy as np

from .intervals import wilson
from .probabilities import ProbabilityTable

PRECISIONS = (0.9, 0.95, 0.98, 0.99)
# that a threshold must have above it, to say anything; and so many that one wrong row still fits the precision
LEAST_ROWS = 30


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
        least = _least_confidence(confidence, hits, precision)
        if least is not None:
            found.append(Threshold(precision, least, float((confidence >= least).mean())))
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
        least = _least_confidence(confidence[~here], hits[~here], precision)
        if least is not None:
            labelled[here] = confidence[here] >= least
    return _held(labelled, hits)


def reach(threshold: Threshold, confidence: np.ndarray, hits: np.ndarray) -> Held:
    """What a threshold is worth on other rows.

    Args:
        threshold: of a model.
        confidence: float (n,), at least one row.
        hits: bool (n,), whether the most probable class is right.
    """
    return _held(confidence >= threshold.confidence, hits)


def _held(labelled: np.ndarray, hits: np.ndarray) -> Held:
    """Of bool (n,), which rows are labelled, and which are right."""
    found = wilson(float(hits[labelled].sum()), int(labelled.sum()))
    return Held(found.value, found.low, found.high, float(labelled.mean()))


def _sure(table: ProbabilityTable) -> tuple[np.ndarray, np.ndarray]:
    """Confidence float32 (rows,), and bool (rows,) whether the most probable class is right."""
    return table.probabilities.max(axis=1), table.probabilities.argmax(axis=1) == table.targets()


def _least_confidence(confidence: np.ndarray, hits: np.ndarray, precision: float) -> float | None:
    """The lowest confidence with at least this share of right rows from it on; None where there is none."""
    order = np.argsort(-confidence, kind="stable")
    ordered, rows = confidence[order], np.arange(1, len(hits) + 1)
    right = np.cumsum(hits[order]) / rows
    # rows of the same confidence are labelled together
    ends = np.append(ordered[1:] < ordered[:-1], True)[: len(rows)]
    reached = np.flatnonzero(ends & (right >= precision) & (rows >= max(LEAST_ROWS, round(1 / (1 - precision)))))
    return float(ordered[reached[-1]]) if len(reached) else None
