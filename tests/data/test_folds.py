"""python -m pytest tests/data/test_folds.py"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmclf.data.catalog import Catalog
from mmclf.data.folds import assign_folds, fold_warnings, split_digest
from mmclf.data.rows import Rows
from mmclf.errors import FoldError

TABLE = Path("shop/train.csv")


def make_catalog(labels, groups=None, given=None, ids=None) -> Catalog:
    count = len(labels)
    return Catalog(
        rows=Rows(
            list(ids) if ids is not None else [f"id{number:03d}" for number in range(count)],
            [""] * count,
            [()] * count,
            Path("images"),
        ),
        name=str(TABLE),
        table_path=TABLE,
        id_col="id",
        label_col="label",
        text_cols=(),
        labels=list(labels),
        groups=groups,
        given_folds=None if given is None else np.array(given, dtype=np.int64),
    )


def random_labels(count, seed=0):
    # sizes that aren't multiples of the number of folds
    return np.random.default_rng(seed).choice(["a", "b", "c"], size=count, p=[0.6, 0.3, 0.1]).tolist()


def refusal(catalog, count=5):
    with pytest.raises(FoldError) as caught:
        assign_folds(catalog, count, 42)
    assert str(caught.value).startswith(f"{TABLE}: ")
    return str(caught.value).removeprefix(f"{TABLE}: ")


# stratified


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_fold_has_its_share_of_every_class(count):
    labels = random_labels(203)
    folds = assign_folds(make_catalog(labels), count, 42)
    assert folds.dtype == np.int64
    assert set(folds) == set(range(count))
    for name in set(labels):
        sizes = Counter(folds[np.array(labels) == name].tolist())
        assert len(sizes) == count
        assert max(sizes.values()) - min(sizes.values()) <= 1


def test_the_split_depends_on_the_seed_alone():
    catalog = make_catalog(random_labels(100))
    folds = assign_folds(catalog, 5, 42)
    np.random.seed(7)  # the global generator has no say
    assert (assign_folds(catalog, 5, 42) == folds).all()
    assert (assign_folds(catalog, 5, 43) != folds).any()


@pytest.mark.parametrize("grouped", [False, True])
def test_the_split_does_not_depend_on_the_order_of_the_rows(grouped):
    labels = random_labels(120)
    groups = [f"g{number // 3}" for number in range(120)] if grouped else None
    catalog = make_catalog(labels, groups)
    folds = dict(zip(catalog.ids, assign_folds(catalog, 4, 42).tolist(), strict=True))
    order = np.random.default_rng(1).permutation(120).tolist()
    shuffled = make_catalog(
        [labels[row] for row in order],
        None if groups is None else [groups[row] for row in order],
        ids=[catalog.ids[row] for row in order],
    )
    assert dict(zip(shuffled.ids, assign_folds(shuffled, 4, 42).tolist(), strict=True)) == folds


def test_a_class_with_fewer_rows_than_folds_is_named_with_its_size():
    message = refusal(make_catalog(["big"] * 20 + ["rare"] * 3 + ["rarer"] * 2))
    assert message == (
        "2 of 3 classes have fewer rows than the 5 folds: 'rarer' (2), 'rare' (3); "
        "set train.folds=2, add rows, or merge or leave out these classes"
    )


def test_a_class_of_one_row_is_not_helped_by_fewer_folds():
    message = refusal(make_catalog(["big"] * 20 + ["lone"]), 2)
    assert message.endswith("'lone' (1); add rows, or merge or leave out these classes")


def test_the_advised_number_of_folds_works():
    labels = ["big"] * 20 + ["rare"] * 3
    assert "set train.folds=3," in refusal(make_catalog(labels))
    assert set(assign_folds(make_catalog(labels), 3, 42)) == {0, 1, 2}


def test_only_the_smallest_of_many_short_classes_are_listed():
    labels = ["big"] * 9 + [name for name in "abcdefg" for _ in range(2)]
    assert "7 of 8 classes" in refusal(make_catalog(labels))
    assert "'e' (2), ...; set" in refusal(make_catalog(labels))


# groups


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_never_split_and_every_fold_has_rows(seed):
    rng = np.random.default_rng(seed)
    labels = random_labels(150, seed)
    groups = [f"g{number}" for number in rng.geometric(0.06, size=150)]
    folds = assign_folds(make_catalog(labels, groups), 3, seed)
    assert set(folds) == {0, 1, 2}
    seen = {group: set(folds[np.array(groups) == group]) for group in groups}
    assert max(len(of) for of in seen.values()) == 1


def test_groups_are_spread_with_the_classes_in_mind():
    labels = [name for name in ("a", "b") for _ in range(60)]
    folds = assign_folds(make_catalog(labels, [f"g{number // 4}" for number in range(120)]), 5, 42)
    for fold in range(5):
        assert Counter(np.array(labels)[folds == fold].tolist()) == {"a": 12, "b": 12}


def test_fewer_groups_than_folds():
    message = refusal(make_catalog(["a", "b"] * 10, [f"g{number % 3}" for number in range(20)]))
    assert message.startswith("3 groups can't make 5 folds")
    assert "train.folds" in message
    assert "data.group_col" in message


# given folds


def test_the_tables_own_folds_win():
    given = [7, 7, 3, 3, 7, 3]
    catalog = make_catalog(["a", "b", "a", "b", "a", "b"], groups=["g"] * 6, given=given)
    for count in (2, 5, 100):
        folds = assign_folds(catalog, count, 42)
        assert folds.tolist() == given
        assert folds.dtype == np.int64


def test_a_fold_column_with_one_fold():
    message = refusal(make_catalog(["a", "b", "a"], given=[4, 4, 4]))
    assert message.startswith("its fold column holds only fold 4; cross-validation needs two or more")
    assert "data.fold_col" in message


def test_a_fold_column_of_something_else():
    message = refusal(make_catalog(["a", "b"] * 101, given=list(range(202))))
    assert message == (
        "its fold column holds 202 folds, and each is a model; 100 at most (another data.fold_col has the folds drawn)"
    )


def test_a_fold_column_that_hides_a_class_from_training():
    message = refusal(make_catalog(["a", "b", "a", "b", "rare"], given=[0, 0, 1, 1, 1]))
    assert message == (
        "its fold column puts every row of class 'rare' in fold 1, so that fold's model can't learn it; "
        "spread its rows over the folds"
    )


# digest and warnings


def test_split_digest_is_equal_for_the_same_rows_in_the_same_folds():
    ids, labels, folds = ["a", "b", "c"], ["x", "y", "x"], np.array([0, 1, 1])
    digest = split_digest(ids, labels, folds)
    assert digest == split_digest(ids[::-1], labels[::-1], folds[::-1])
    others = [
        split_digest(["a", "b", "d"], labels, folds),
        split_digest(ids, ["x", "y", "y"], folds),
        split_digest(ids, labels, np.array([0, 1, 0])),
        split_digest(ids[:2], labels[:2], folds[:2]),
        split_digest(ids, labels, 1 - folds),
    ]
    assert len({digest, *others}) == 6


def test_a_plain_split_has_nothing_to_warn_of():
    catalog = make_catalog(random_labels(100))
    assert fold_warnings(catalog, assign_folds(catalog, 5, 42)) == []


def test_a_class_that_is_one_group_is_warned_of():
    labels = ["a", "b"] * 20 + ["one"] * 5
    catalog = make_catalog(labels, [f"g{number // 2}" for number in range(40)] + ["whole"] * 5)
    warnings = fold_warnings(catalog, assign_folds(catalog, 4, 42))
    assert len(warnings) == 2
    assert warnings[0].startswith("1 classes lie in one fold only (each is one group): 'one'")
    assert "validate without a row of some classes" in warnings[1]


def test_folds_without_a_class_are_numbered():
    catalog = make_catalog(["a", "b", "a", "b", "a", "b", "b"], given=[0, 0, 5, 5, 9, 9, 9])
    assert fold_warnings(catalog, assign_folds(catalog, 5, 42)) == []
    catalog = make_catalog(["a", "b", "a", "b", "a", "a"], given=[0, 0, 5, 5, 9, 9])
    (warning,) = fold_warnings(catalog, assign_folds(catalog, 5, 42))
    assert warning.startswith("folds 9 validate without a row of some classes")


def test_given_folds_that_split_a_group_are_warned_of():
    catalog = make_catalog(["a", "b"] * 3, ["g", "g", "g", "h", "h", "i"], [0, 0, 1, 1, 1, 0])
    (warning,) = fold_warnings(catalog, assign_folds(catalog, 5, 42))
    assert warning == "the given folds split 1 groups, for example 'g': validation leaks"
