"""Which of two models is better, by the rows that neither of them was trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from ..errors import ComparisonError
from .metrics import is_in_top_k
from .probabilities import ProbabilityTable, align, merge_classes, spread

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
# what models are compared by: fields of crossvalidation.py's `Figures`
TOP1, TOP3, OOF_TOP1, MACRO_F1 = "top1_mean", "top3_mean", "oof_top1", "macro_f1"
METRICS = (TOP1, TOP3, OOF_TOP1, MACRO_F1)


@dataclass(frozen=True)
class Difference:
    """How much better the challenger is.

    Attributes:
        metric: what was compared.
        rows: number of rows.
        value: challenger less champion.
        low, high: the 95 % interval.
    """

    metric: str
    rows: int
    value: float
    low: float
    high: float

    @property
    def is_better(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    def __str__(self) -> str:
        return (
            f"{100 * self.value:+.2f} points, {LEVEL:.0%} interval {100 * self.low:+.2f} to "
            f"{100 * self.high:+.2f} ({self.rows:,} rows, paired bootstrap)"
        )


def compare(challenger: ProbabilityTable, champion: ProbabilityTable, metric: str) -> Difference:
    """Paired bootstrap over the rows: percentile interval of the difference, 10,000 resamples, fixed seed.

    Rows are drawn with replacement, and both models are judged on the same drawn rows (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993). A draw of n rows is a multinomial draw of how often each kind of row occurs,
    so it costs the number of kinds (right/wrong by the one and the other), not of rows.

    Args:
        challenger: out of fold.
        champion: out of fold, of the same rows, labels and folds; the order may differ. A class that only one of them
            knows is one that the other never names.
        metric: one of METRICS; the means over folds are compared by their rows.

    Raises:
        ComparisonError: other rows, labels or folds, or an unknown metric.
    """
    if metric not in METRICS:
        raise ComparisonError(f"metric: found {metric!r}; it should be one of {', '.join(METRICS)}")
    there = in_rows_of(champion, challenger)
    classes = merge_classes([challenger.classes, champion.classes])
    targets = replace(challenger, classes=classes).targets()
    ours, other = (np.nan_to_num(spread(table, classes)) for table in (challenger, there))
    rng = np.random.default_rng(SEED)
    if metric == MACRO_F1:
        value, draws = _f1_draws(ours, other, targets, rng)
    else:
        k = 3 if metric == TOP3 else 1
        gain = is_in_top_k(ours, targets, k).astype(int) - is_in_top_k(other, targets, k)
        value, draws = _draws(gain, rng, lambda kinds, counts: counts @ kinds / len(targets))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Difference(metric, len(targets), value, float(low), float(high))


def in_rows_of(table: ProbabilityTable, like: ProbabilityTable) -> ProbabilityTable:
    """An out-of-fold table in the order of the rows of another one.

    Raises:
        ComparisonError: it is of other rows, labels or folds; says how many, and one of them.
    """
    differing = sorted(set(table.ids) ^ set(like.ids))
    if differing:
        raise ComparisonError(
            f"other rows: {len(like):,} out of fold here, {len(table):,} there; {len(differing):,} ids are in one "
            f"only, for example {differing[0]!r}"
        )
    there = align(table, replace(like, classes=table.classes))
    for what, ours, theirs in (("labels", like.labels, there.labels), ("folds", like.folds, there.folds)):
        if ours is None or theirs is None:
            raise ComparisonError(f"other {what}: one of them has none")
        rows = [row for row, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
        if rows:
            row = rows[0]
            raise ComparisonError(
                f"other {what}: those of {len(rows):,} of {len(like):,} rows differ, for example of {like.ids[row]!r}: "
                f"{ours[row]!s} here, {theirs[row]!s} there"
            )
    return there


def _draws(
    kinds: np.ndarray, rng: np.random.Generator, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, np.ndarray]:
    """The statistic of the rows and of the resamples, each row given by its kind."""
    distinct, counts = np.unique(kinds, axis=0, return_counts=True)
    total = int(counts.sum())
    value = float(statistic(distinct, counts[None])[0])
    parts = []
    for _ in range(0, RESAMPLES, 500):  # in parts, for the memory
        drawn = rng.multinomial(total, counts / total, size=500)
        parts.append(statistic(distinct, drawn))
    return value, np.concatenate(parts)


def _f1_draws(
    ours: np.ndarray, other: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    classes = ours.shape[1]
    kinds = np.stack([targets, ours.argmax(axis=1), other.argmax(axis=1)], axis=1)

    def statistic(distinct: np.ndarray, counts: np.ndarray) -> np.ndarray:
        rows = np.arange(len(distinct))
        truth, *predictions = (csr_array((np.ones(len(rows)), (rows, c)), (len(rows), classes)) for c in distinct.T)
        scores = []
        for predicted in predictions:
            hits = counts @ truth.multiply(predicted).tocsr()
            both = counts @ truth + counts @ predicted
            f1 = 2 * hits / np.maximum(both, 1)
            scores.append(f1.sum(axis=1) / np.maximum((both > 0).sum(axis=1), 1))
        gain: np.ndarray = scores[0] - scores[1]
        return gain

    return _draws(kinds, rng, statistic)
