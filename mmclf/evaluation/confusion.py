"""Which classes are taken for which: counts, their order, and the worst pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .probabilities import ProbabilityTable


@dataclass(frozen=True)
class Confusion:
    """How often each class is taken for each.

    Attributes:
        classes: names, in the order of rows and columns.
        counts: int64 (classes, classes); rows are what a product is, columns what it is taken for.
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    def take(self, chosen: Sequence[int]) -> "Confusion":
        """Some of the classes, in this order."""
        return Confusion(tuple(self.classes[c] for c in chosen), self.counts[np.ix_(chosen, chosen)])

    @property
    def mistakes(self) -> np.ndarray:
        """The counts without the right ones."""
        found = self.counts.copy()
        np.fill_diagonal(found, 0)
        return found


@dataclass(frozen=True)
class Pair:
    """Products of one class that are taken for another.

    Attributes:
        given, taken_for: names of the classes.
        rows: how many.
        share: of the rows of `given`, in [0, 1].
    """

    given: str
    taken_for: str
    rows: int
    share: float


def confusion_of(table: ProbabilityTable, chosen: Sequence[int]) -> Confusion:
    """The confusions among some classes, each row taken for its most probable class.

    Args:
        table: with labels.
        chosen: positions of classes, in the order that is wanted.
    """
    size = len(chosen)
    place = np.full(len(table.classes), -1)
    place[list(chosen)] = np.arange(size)
    given, taken = place[table.targets()], place[table.probabilities.argmax(axis=1)]
    both = (given >= 0) & (taken >= 0)
    counts = np.bincount(given[both] * size + taken[both], minlength=size * size).reshape(size, size)
    return Confusion(tuple(table.classes[c] for c in chosen), counts)


def confused_pairs(table: ProbabilityTable) -> list[Pair]:
    """The pairs with the most mistakes first; of as many mistakes, those of the larger share."""
    targets, found = table.targets(), table.probabilities.argmax(axis=1)
    rows = np.bincount(targets, minlength=len(table.classes))
    wrong = targets != found
    cells, counts = np.unique(np.stack([targets[wrong], found[wrong]]), axis=1, return_counts=True)
    given, taken = cells
    shares = counts / rows[given]
    order = np.lexsort((taken, given, -shares, -counts))
    classes = table.classes
    return [Pair(classes[given[i]], classes[taken[i]], int(counts[i]), float(shares[i])) for i in order]


def most_confused(classes: Sequence[str], pairs: Sequence[Pair], most: int) -> list[int]:
    """Positions of at most so many classes: all where they fit, else those of the worst pairs.

    Args:
        classes: names.
        pairs: the worst first.
        most: how many at most.
    """
    if len(classes) <= most:
        return list(range(len(classes)))
    position = {name: c for c, name in enumerate(classes)}
    found: set[int] = set()
    for pair in pairs:
        both = found | {position[pair.given], position[pair.taken_for]}
        if len(both) > most:
            break
        found = both
    return sorted(found or range(most))


def in_order(confusion: Confusion) -> list[int]:
    """Positions of the classes in an order in which classes that are confused lie together.

    Average linkage on the shares of mistakes, its leaves turned so that neighbours are as alike as they can be
    (Bar-Joseph et al., Fast Optimal Leaf Ordering for Hierarchical Clustering, 2001).
    """
    size = len(confusion.classes)
    mistakes = confusion.mistakes
    if size < 3 or not mistakes.any():
        return list(range(size))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = mistakes / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
    alike = shares + shares.T
    distances = 1 - alike / alike.max()
    np.fill_diagonal(distances, 0)
    return [int(c) for c in leaves_list(linkage(squareform(distances), "average", optimal_ordering=True))]
