"""How far new rows are from those that a model was trained on, each time beside how far chance alone leads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .probabilities import ProbabilityTable

SEED = 0
# draws that say how far chance leads
DRAWS = 400
LEVEL = 0.95
# standard normal deviate, and that of Kolmogorov's distribution, of LEVEL
Z, KOLMOGOROV = 1.959964, 1.358099


@dataclass(frozen=True)
class Drift:
    """Something that is known of the rows before and now.

    Attributes:
        what: for people.
        before, now: what it is on the whole; None where there is no one number for it.
        apart: how far they are apart, in [0, 1].
        chance: as far as rows of the same kind are apart in 95 of 100 cases.
    """

    what: str
    before: float | None
    now: float | None
    apart: float
    chance: float

    @property
    def is_more_than_chance(self) -> bool:
        """Whether they have changed."""
        return self.apart > self.chance


def of_shares(what: str, before: np.ndarray, now: np.ndarray) -> Drift:
    """Of something that a row is or isn't, bool (n,) and (m,): the difference of the shares."""
    shares = float(before.mean()), float(now.mean())
    pooled = (before.sum() + now.sum()) / (len(before) + len(now))
    chance = Z * np.sqrt(pooled * (1 - pooled) * (1 / len(before) + 1 / len(now)))
    return Drift(what, *shares, abs(shares[1] - shares[0]), float(chance))


def of_values(what: str, before: np.ndarray, now: np.ndarray) -> Drift:
    """Of numbers (n,) and (m,): their medians, and the Kolmogorov-Smirnov distance of their distributions."""
    values = np.sort(np.concatenate([before, now]))
    below = [np.searchsorted(np.sort(each), values, side="right") / len(each) for each in (before, now)]
    apart = float(np.abs(below[0] - below[1]).max())
    chance = KOLMOGOROV * np.sqrt(1 / len(before) + 1 / len(now))
    return Drift(what, float(np.median(before)), float(np.median(now)), apart, float(min(chance, 1.0)))


def of_classes(what: str, before: np.ndarray, now: np.ndarray) -> Drift:
    """Of how many rows the classes have, int (classes,) each: the total variation distance.

    That is the share of the rows that would have to change their class; for chance, both tables are drawn from the rows
    of both together.
    """
    rows = int(before.sum()), int(now.sum())
    both = (before + now) / sum(rows)
    rng = np.random.default_rng(SEED)
    drawn = [rng.multinomial(size, both, size=DRAWS) / size for size in rows]
    apart = [np.abs(one - other).sum(axis=-1) / 2 for one, other in ((before / rows[0], now / rows[1]), drawn)]
    return Drift(what, None, None, float(apart[0]), float(np.quantile(apart[1], LEVEL)))


def accuracy_at_mix(table: ProbabilityTable, labels: Mapping[str, int]) -> float | None:
    """What the rows of a table would reach if its classes were as frequent as others' are.

    Args:
        table: with labels.
        labels: rows of each class elsewhere.

    Returns:
        The mean of the classes' recall, weighted by these rows; None where a class has no row in the table.
    """
    targets = table.targets()
    rows = np.bincount(targets, minlength=len(table.classes))
    hits = np.bincount(targets[table.probabilities.argmax(axis=1) == targets], minlength=len(table.classes))
    wanted = np.array([labels.get(name, 0) for name in table.classes])
    if ((wanted > 0) & (rows == 0)).any() or not wanted.sum():
        return None
    return float((wanted * hits / np.maximum(rows, 1)).sum() / wanted.sum())


def count_labels(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """int64 (classes,), rows of each class."""
    position = {name: c for c, name in enumerate(classes)}
    return np.bincount([position[label] for label in labels], minlength=len(classes))
