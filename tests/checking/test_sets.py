"""python -m pytest tests/checking/test_sets.py"""

import numpy as np

from mmclf.checking.sets import alone, chained, joined, members, pair_agreement, united


def partition(sets):
    return sorted(sorted(rows.tolist()) for rows in members(np.asarray(sets), 1))


def test_pairs_are_joined_over_others():
    assert partition(joined(6, np.array([0, 4]), np.array([2, 2]))) == [[0, 2, 4], [1], [3], [5]]
    assert partition(joined(3, np.empty(0, np.int64), np.empty(0, np.int64))) == [[0], [1], [2]]


def test_sets_are_united():
    assert partition(united(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7]))) == [[0, 1, 2], [3]]


def test_a_set_is_held_together_by_a_chain():
    first, second = chained(np.array([3, 1, 3, 3]))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (2, 3)]


def test_rows_can_be_put_on_their_own():
    assert partition(alone(np.array([0, 0, 0, 1]), np.array([True, True, False, False]))) == [[0], [1], [2], [3]]


def test_large_sets_come_first():
    assert [rows.tolist() for rows in members(np.array([4, 9, 4, 9, 9, 1]))] == [[1, 3, 4], [0, 2]]


def test_agreement_counts_pairs():
    # found {0,1,2}, wanted {0,1} and {2,3}: one pair in both, two in found alone, one in wanted alone
    assert pair_agreement(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == (1, 2, 1)
