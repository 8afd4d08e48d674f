"""Folds of any labels and groups.

.venv/bin/python -m pytest tests/data/test_fold_properties.py
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmclf.data.catalog import Catalog
from mmclf.data.folds import Split, assign_folds, fold_warnings
from mmclf.data.rows import Rows
from mmclf.errors import FoldError

COUNTS, SEEDS = st.integers(2, 6), st.integers(0, 2**31 - 1)


@st.composite
def cases(draw):
    """A number of folds, and labels of which each has as many rows or more."""
    count = draw(COUNTS)
    sizes = draw(st.lists(st.integers(count, 25), min_size=2, max_size=4))
    return count, draw(st.permutations([name for name, size in zip("abcd", sizes, strict=False) for _ in range(size)]))


def make_catalog(labels, groups=None, order=None):
    rows = list(range(len(labels))) if order is None else order
    return Catalog(
        rows=Rows([f"r{row}" for row in rows], [""] * len(rows), [()] * len(rows), Path("images")),
        name="shop",
        table_path=None,
        id_col="id",
        label_col="label",
        text_cols=(),
        labels=[labels[row] for row in rows],
        groups=None if groups is None else [groups[row] for row in rows],
    )


def check(catalog, folds, count):
    """Each row lies in exactly one fold, each fold holds rows, and what is held out isn't trained on."""
    split = Split(catalog, folds)
    assert folds.dtype == np.int64
    assert split.numbers == list(range(count))
    assert sorted(row for fold in split.numbers for row in split.held_out(fold)) == list(range(len(catalog)))
    for fold in split.numbers:
        assert set(split.train_rows(fold)) == set(range(len(catalog))) - set(split.held_out(fold))


@given(cases(), SEEDS)
def test_rows_are_spread_over_the_folds_class_by_class(case, seed):
    count, labels = case
    catalog = make_catalog(labels)
    folds = assign_folds(catalog, count, seed)
    check(catalog, folds, count)
    for label in set(labels):
        sizes = np.bincount(folds[np.array(labels) == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    assert fold_warnings(catalog, folds) == []


@given(cases(), SEEDS, st.integers(1, 100))
def test_a_class_of_fewer_rows_than_folds_is_always_refused(case, seed, more):
    count, labels = case
    fewest = min(Counter(labels).values())
    with pytest.raises(FoldError, match=f"have fewer rows than the {fewest + more} folds"):
        assign_folds(make_catalog(labels), fewest + more, seed)


@given(cases(), SEEDS, st.data())
def test_groups_are_never_split(case, seed, data):
    count, labels = case
    groups = data.draw(st.lists(st.integers(0, 30).map(str), min_size=len(labels), max_size=len(labels)))
    catalog = make_catalog(labels, groups)
    if len(set(groups)) < count:
        with pytest.raises(FoldError, match="groups can't make"):
            assign_folds(catalog, count, seed)
        return
    folds = assign_folds(catalog, count, seed)
    check(catalog, folds, count)
    for group in set(groups):
        assert len(set(folds[np.array(groups) == group])) == 1


@given(cases(), SEEDS, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_has_no_say(case, seed, grouped, random):
    count, labels = case
    groups = [str(row // 2) for row in range(len(labels))] if grouped else None
    order = random.sample(range(len(labels)), len(labels))
    folds = assign_folds(make_catalog(labels, groups), count, seed)
    shuffled = assign_folds(make_catalog(labels, groups, order), count, seed)
    assert shuffled.tolist() == folds[order].tolist()
