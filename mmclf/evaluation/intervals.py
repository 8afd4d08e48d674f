"""How sure the figures of an out-of-fold matrix are: percentile bootstrap over its rows, or over their groups.

Rows that belong together (colours of one product, one page of a catalogue) say less than as many rows that don't, so a
resample draws whole groups where there are some (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
3.8). A resample repeats rows, which makes a calibration error larger than that of the rows themselves; therefore the
draws are moved so that their mean is the figure of the rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .metrics import BINS
from .probabilities import ProbabilityTable
from .row_scores import RowScores

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
# resamples at a time, and their cells, for the memory
PART, CELLS = 100, 10_000_000
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
    return bootstrap_scores(RowScores.of(table.probabilities, table.targets()), groups)


def bootstrap_scores(scores: RowScores, groups: Sequence[str] | None = None) -> dict[str, Interval]:
    """The same as `bootstrap`, where the probabilities of all rows would need too much memory."""
    draws = resampled(scores, groups)
    found = {}
    for name, value in figures_of_scores(scores).items():
        moved = draws[name] - draws[name].mean() + value
        low, high = np.quantile(moved, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        most = np.inf if name == "loss" else 1.0
        found[name] = Interval(value, max(0.0, float(low)), min(most, float(high)))
    return found


def figures_of_scores(scores: RowScores) -> dict[str, float]:
    """The figures themselves."""
    once = np.ones((1, len(scores)), dtype=np.int32)
    return {name: float(value) for name, [value] in _Counted.of(scores).figures(once).items()}


def resampled(scores: RowScores, groups: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Each figure of RESAMPLES resamples, float64 (RESAMPLES,); see `bootstrap`."""
    counted = _Counted.of(scores)
    parts = [counted.figures(times) for times in draw_rows(len(scores), groups)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def draw_rows(rows: int, groups: Sequence[str] | None) -> Iterator[np.ndarray]:
    """How often each row is in each of RESAMPLES resamples, int32 (some of them, rows) at a time; seeded.

    Args:
        rows: how many there are.
        groups: of the rows; drawn whole.
    """
    numbers = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(SEED)
    part = max(1, min(PART, CELLS // rows))
    for start in range(0, RESAMPLES, part):
        size = min(part, RESAMPLES - start)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times[:, numbers].astype(np.int32)


def mean_interval(values: np.ndarray, groups: Sequence[str] | np.ndarray | None = None) -> Interval:
    """The mean of values of rows, such as paired differences, by the same bootstrap.

    Args:
        values: float (rows,), at least one.
        groups: of the rows; drawn whole.
    """
    numbers = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    totals = np.column_stack([np.bincount(numbers, values), np.bincount(numbers)])
    # groups of the same sum and size are one kind, so differences of hits cost next to nothing
    kinds, counts = np.unique(totals, axis=0, return_counts=True)
    rng = np.random.default_rng(SEED)
    part = max(1, min(PART, CELLS // len(kinds)))
    draws = []
    for start in range(0, RESAMPLES, part):
        times = rng.multinomial(len(totals), counts / len(totals), size=min(part, RESAMPLES - start))
        sums = times @ kinds
        draws.append(sums[:, 0] / sums[:, 1])
    low, high = np.quantile(np.concatenate(draws), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def difference(one: Interval, other: Interval) -> Interval:
    """One figure less another of other rows, by their intervals.

    Each end is as far away as the two ends that lead to it together, at right angles (Newcombe, Interval Estimation for
    the Difference between Independent Proportions, 1998).
    """
    value = one.value - other.value
    low = value - np.hypot(one.value - one.low, other.high - other.value)
    high = value + np.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, float(low), float(high))


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
    """Rows in the shape in which resamples of them are counted.

    Attributes:
        means: float64 (rows, 3), what the means of are top-1, top-3 and loss.
        order, gaps: int64 and float64 (rows,), rows by confidence, and how far it is from what came true.
        truth, predicted, right: (rows, classes), rows by their class, by what they are taken for, and where both agree.
    """

    means: np.ndarray
    order: np.ndarray
    gaps: np.ndarray
    truth: csr_array
    predicted: csr_array
    right: csr_array

    @classmethod
    def of(cls, scores: RowScores) -> "_Counted":
        likely = np.maximum(scores.truth.astype(np.float64), np.finfo(np.float32).tiny)
        means = np.stack([scores.hits, scores.in_top3, -np.log(likely)], axis=1).astype(np.float64)
        confidence = scores.confidence.astype(np.float64)
        order = np.argsort(confidence, kind="stable")
        rows = np.arange(len(scores))
        shape = (len(scores), scores.classes)
        truth, predicted = (
            csr_array((np.ones(len(rows)), (rows, each)), shape) for each in (scores.targets, scores.predictions)
        )
        gaps = (confidence - scores.hits)[order]
        return cls(means, order, gaps, truth, predicted, truth.multiply(predicted).tocsr())

    def figures(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Each float64 (resamples,), of rows that are there int (resamples, rows) times."""
        top1, top3, loss = (times @ self.means / times.sum(axis=1, keepdims=True)).T
        errors = np.array([_calibration(each[self.order], self.gaps) for each in times])
        macro_f1 = self._macro_f1(times)
        return {"top1": top1, "top3": top3, "macro_f1": macro_f1, "loss": loss, "calibration_error": errors}

    def _macro_f1(self, times: np.ndarray) -> np.ndarray:
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
