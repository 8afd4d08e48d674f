"""python -m pytest tests/evaluation/test_confusion.py"""

import numpy as np
import pytest

from mmclf.evaluation.confusion import Confusion, Pair, confused_pairs, confusion_of, in_order, most_confused
from mmclf.evaluation.probabilities import ProbabilityTable


def matrix_of(given, taken, classes):
    probabilities = np.eye(len(classes), dtype=np.float32)[[classes.index(name) for name in taken]]
    return ProbabilityTable([str(n) for n in range(len(given))], classes, probabilities, labels=list(given))


def blocks(size, groups, seed=0):
    """Classes of which those of a group are confused with each other, in a drawn order, and the group of each."""
    group = np.random.default_rng(seed).permutation(np.arange(size) % groups)
    counts = np.where(group[:, None] == group[None], 3, 0)
    np.fill_diagonal(counts, 20)
    return Confusion(tuple(f"c{n:03}" for n in range(size)), counts), group


def test_counts_and_pairs_by_hand():
    table = matrix_of("aaabbc", "aabbab", ("a", "b", "c"))
    found = confusion_of(table, [0, 1, 2])
    assert found.counts.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert found.mistakes.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    pairs = [(pair.given, pair.taken_for, pair.rows, pair.share) for pair in confused_pairs(table)]
    assert pairs == [("c", "b", 1, 1.0), ("b", "a", 1, 0.5), ("a", "b", 1, pytest.approx(1 / 3))]
    part = confusion_of(table, [2, 1])
    assert (part.classes, part.counts.tolist()) == (("c", "b"), [[0, 1], [0, 1]])


@pytest.mark.parametrize(("size", "groups"), [(9, 3), (40, 8)])
def test_classes_that_are_confused_lie_together(size, groups):
    confusion, group = blocks(size, groups)
    order = in_order(confusion)
    assert sorted(order) == list(range(size))
    changes = (np.diff(group[np.array(order)]) != 0).sum()
    assert changes == groups - 1
    assert (np.diff(group) != 0).sum() > groups
    taken = confusion.take(order)
    assert taken.classes[0] == confusion.classes[order[0]]
    assert taken.counts.sum() == confusion.counts.sum()


def test_of_many_classes_those_of_the_worst_pairs_are_kept():
    classes = [f"c{n}" for n in range(200)]
    pairs = [Pair("c150", "c7", 9, 0.5), *(Pair(f"c{n}", f"c{n + 1}", 1, 0.1) for n in range(0, 150, 2))]
    found = most_confused(classes, pairs, 40)
    assert found == [*range(38), 150]  # of the next pair both or none
    assert most_confused(classes, pairs, 41) == [*range(40), 150]


@pytest.mark.parametrize("size", [2, 3])
def test_few_classes_stay_whole(size):
    confusion = Confusion(tuple("abc"[:size]), np.full((size, size), 2))
    assert most_confused(confusion.classes, [], 40) == list(range(size))
    assert sorted(in_order(confusion)) == list(range(size))


def test_without_mistakes_there_are_no_pairs():
    names = tuple("abcdef")
    table = matrix_of("aabcdef", "aabcdef", names)
    assert confused_pairs(table) == []
    assert in_order(confusion_of(table, range(6))) == list(range(6))
    assert most_confused(names, [], 4) == [0, 1, 2, 3]
