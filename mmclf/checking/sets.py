"""Rows that belong together: sets as numbers, one a row."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def joined(rows: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int64 (rows,): the number of each row's set, where these pairs, and what they are paired with, belong together.

    Args:
        rows: how many there are.
        first: int64 (pairs,), positions of rows.
        second: the same, of what they are paired with.
    """
    links = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(rows, rows))
    found: np.ndarray = connected_components(links, directed=False)[1].astype(np.int64)
    return found


def united(*sets: np.ndarray) -> np.ndarray:
    """int64 (rows,): sets in which rows are together that are together in one of these, all int64 (rows,)."""
    rows = len(sets[0])
    pairs = [chained(each) for each in sets]
    return joined(rows, np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))


def chained(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows, int64 each, that hold each set together: a row and the next one of its set."""
    order = np.argsort(sets, kind="stable")
    same = sets[order[1:]] == sets[order[:-1]]
    return order[:-1][same], order[1:][same]


def members(sets: np.ndarray, least: int = 2) -> list[np.ndarray]:
    """int64 positions of the rows of each set that has so many; large sets first, then in the order of the rows."""
    order = np.argsort(sets, kind="stable")
    ends = np.flatnonzero(np.diff(sets[order])) + 1
    found = [part for part in np.split(order, ends) if len(part) >= least]
    return sorted(found, key=lambda part: (-len(part), part[0]))


def alone(sets: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The same sets, int64 (rows,), where the rows of `which`, bool (rows,), are each on their own."""
    found = sets.copy()
    found[which] = sets.max(initial=0) + 1 + np.arange(int(which.sum()))
    return found


def pair_agreement(found: np.ndarray, wanted: np.ndarray) -> tuple[int, int, int]:
    """Pairs of rows that are together in both, in `found` alone, and in `wanted` alone; both int64 (rows,)."""
    both = _pairs(np.unique(np.stack([found, wanted]), axis=1, return_counts=True)[1])
    return (
        both,
        _pairs(np.unique(found, return_counts=True)[1]) - both,
        _pairs(np.unique(wanted, return_counts=True)[1]) - both,
    )


def _pairs(counts: np.ndarray) -> int:
    return int((counts * (counts - 1) // 2).sum())
