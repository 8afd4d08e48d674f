"""What confidence is worth: accuracy by confidence, and precision where only the surest rows are labelled."""

from dataclasses import dataclass

import numpy as np

from .intervals import Interval, wilson
from .metrics import BINS, calibration_error
from .pool import pool_out_of_fold
from .probabilities import ProbabilityTable


@dataclass(frozen=True)
class Bin:
    """Rows of like confidence.

    Attributes:
        confidence: their mean.
        accuracy: share of right ones.
        rows: how many.
    """

    confidence: float
    accuracy: Interval
    rows: int


@dataclass(frozen=True)
class Reliability:
    """How confidence and accuracy go together.

    Attributes:
        bins: of as many rows each, by confidence.
        error: the expected calibration error.
    """

    bins: tuple[Bin, ...]
    error: float


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> Reliability:
    """In bins of equal mass, as the calibration error takes them.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = probabilities.argmax(axis=1) == targets
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    bins = tuple(
        Bin(float(confidence[part].mean()), wilson(float(hits[part].sum()), len(part)), len(part)) for part in parts
    )
    return Reliability(bins, calibration_error(probabilities, targets))


def scaled_out_of_fold(table: ProbabilityTable) -> np.ndarray | None:
    """float64 (rows, classes): each fold's rows scaled by temperature and curve of the other folds' rows.

    None for a single fold, which has no others.
    """
    if table.folds is None or len(np.unique(table.folds)) < 2:
        return None
    return pool_out_of_fold([table.probabilities], table.targets(), table.folds)


def precision_by_coverage(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and precision, float64 (k,), where rows are labelled from the surest on; equally sure ones together."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    rows = np.arange(1, len(order) + 1)
    precision = np.cumsum((probabilities.argmax(axis=1) == targets)[order]) / rows
    ends = np.append(np.diff(confidence[order]) < 0, True)
    return (rows / len(order))[ends], precision[ends]
