"""How sure the figures of an out-of-fold matrix are: percentile bootstrap over its rows, or over their groups.

Rows that belong together (colours of one product, one page of a catalogue) say less than as many rows that don't, so a
resample draws whole groups where there are some (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
3.8). A resample repeats rows, which makes a calibration error larger than that of the rows themselves; therefore the
draws are moved so that their mean is the figure of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .metrics import BINS, calibration_error, is_in_top_k, log_loss, macro_f1, top_k
from .probabilities import ProbabilityTable

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
# resamples at a time, for the memory
PART = 100
# standard normal deviate of LEVEL
Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A figure, and where it may as well lie; the 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def bootstrap(table: ProbabilityTable, groups: Sequence[str] | None = None) -> dict[str, Interval]:
    """The figures of all rows together, with intervals.

    Args:
        table: with labels, n rows.
        groups: of the rows, in their order; None where each row stands alone.

    Returns:
        `top1`, `top3`, `macro_f1`, `loss` and `calibration_error`, as in metrics.py.
    """
    probabilities, targets = table.probabilities, table.targets()
    values = {
        "top1": top_k(probabilities, targets, 1),
        "top3": top_k(probabilities, targets, 3),
        "macro_f1": macro_f1(probabilities, targets),
        "loss": log_loss(probabilities, targets),
        "calibration_error": calibration_error(probabilities, targets),
    }
    draws = resampled(table, groups)
    found = {}
    for name, value in values.items():
        moved = draws[name] - draws[name].mean() + value
        low, high = np.quantile(moved, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        most = np.inf if name == "loss" else 1.0
        found[name] = Interval(value, max(0.0, float(low)), min(most, float(high)))
    return found


def resampled(table: ProbabilityTable, groups: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Each figure of RESAMPLES resamples, float64 (RESAMPLES,); see `bootstrap`."""
    probabilities, targets = table.probabilities, table.targets()
    rows = np.arange(len(targets))
    hits = is_in_top_k(probabilities, targets, 1), is_in_top_k(probabilities, targets, 3)
    truth = np.maximum(probabilities[rows, targets].astype(np.float64), np.finfo(np.float32).tiny)
    means = np.stack([*hits, -np.log(truth)], axis=1).astype(np.float64)
    confidence = probabilities.max(axis=1).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    gaps = (confidence - hits[0])[order]
    counted = _Counted.of(targets, probabilities.argmax(axis=1), probabilities.shape[1])
    parts = []
    for times in draw_rows(len(targets), groups):
        total = times.sum(axis=1, keepdims=True)
        sums = times @ means / total
        errors = [_calibration(each[order], gaps) for each in times]
        parts.append(np.column_stack([sums, counted.macro_f1(times), errors]))
    names = ("top1", "top3", "loss", "macro_f1", "calibration_error")
    return dict(zip(names, np.concatenate(parts).T, strict=True))


def draw_rows(rows: int, groups: Sequence[str] | None) -> list[np.ndarray]:
    """How often each row is in each of RESAMPLES resamples, int64 (PART, rows) at a time; seeded.

    Args:
        rows: how many there are.
        groups: of the rows; drawn whole.
    """
    numbers = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(0, RESAMPLES, PART):
        drawn = rng.integers(count, size=(PART, count)) + count * np.arange(PART)[:, None]
        times = np.bincount(drawn.ravel(), minlength=PART * count).reshape(PART, count)
        found.append(times[:, numbers].astype(np.int32))
    return found


def wilson(right: float, rows: float) -> Interval:
    """Share of right rows with its 95 % interval (Wilson, Probable Inference, 1927); nan for no rows."""
    if rows == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    share = right / rows
    middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2)) / (1 + Z**2 / rows)
    return Interval(share, min(share, max(0.0, float(middle - half))), max(share, min(1.0, float(middle + half))))


@dataclass(frozen=True)
class _Counted:
    """Rows by their class, by what they are taken for, and those where both are the same; (rows, classes)."""

    truth: csr_array
    predicted: csr_array
    right: csr_array

    @classmethod
    def of(cls, targets: np.ndarray, predictions: np.ndarray, classes: int) -> "_Counted":
        rows = np.arange(len(targets))
        shape = (len(rows), classes)
        truth, predicted = (csr_array((np.ones(len(rows)), (rows, each)), shape) for each in (targets, predictions))
        return cls(truth, predicted, truth.multiply(predicted).tocsr())

    def macro_f1(self, times: np.ndarray) -> np.ndarray:
        """float64 (resamples,); over the classes that occur in each."""
        hits, both = times @ self.right, times @ self.truth + times @ self.predicted
        f1 = 2 * hits / np.maximum(both, 1)
        found: np.ndarray = f1.sum(axis=1) / np.maximum((both > 0).sum(axis=1), 1)
        return found


def _calibration(times: np.ndarray, gaps: np.ndarray) -> float:
    """The calibration error of rows that are repeated, int (n,) times, in the order of their confidence.

    The sum of the gaps up to a position among the repeated rows is linear between one row's first and last copy, so
    the bins' sums are read off it.
    """
    ends = np.concatenate([[0], np.cumsum(times)])
    sums = np.concatenate([[0.0], np.cumsum(times * gaps)])
    size, longer = divmod(int(ends[-1]), BINS)
    edges = np.concatenate([[0], np.cumsum(np.full(BINS, size) + (np.arange(BINS) < longer))])
    found: np.ndarray = np.abs(np.diff(np.interp(edges, ends, sums))).sum() / ends[-1]
    return float(found)
