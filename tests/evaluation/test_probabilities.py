"""python -m pytest tests/evaluation/test_probabilities.py"""

import csv

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mmclf.errors import EnsembleError
from mmclf.evaluation.probabilities import ProbabilityTable, average, join_folds, read_table, write_parts


def make_table(ids=("a", "b", "c"), classes=("hats", "shoes"), seed=0, **extra) -> ProbabilityTable:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), size=len(ids)).astype(np.float32)
    return ProbabilityTable(list(ids), tuple(classes), drawn, **extra)


def assert_same(one, other):
    assert (one.ids, one.classes, one.labels) == (other.ids, other.classes, other.labels)
    assert one.probabilities.dtype == other.probabilities.dtype == np.float32
    assert (one.probabilities == other.probabilities).all()
    assert (one.folds is None) == (other.folds is None)
    if one.folds is not None:
        assert one.folds.dtype == np.int64
        assert (one.folds == other.folds).all()


# reading and writing


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"folds": np.array([2, 0, 1])},
        {"labels": ["hats", "shoes", "hats"]},
        {"folds": np.array([2, 0, 1]), "labels": ["hats", "shoes", "hats"]},
    ],
)
def test_a_table_is_read_back_unchanged(tmp_path, extra):
    table = make_table(**extra)
    table.write(tmp_path / "oof.parquet")
    assert_same(read_table(tmp_path / "oof.parquet"), table)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(
    "classes",
    [
        ("id", "fold", "label"),
        ("class:id", "id"),
        ("class:id", "class:class:id", "id", "label"),
        ("größe", "名前", "two words", "a,b", 'with "quotes"', ""),
        ("z", "a", "m"),
    ],
)
def test_classes_may_be_called_anything_and_keep_their_order(tmp_path, classes, labelled):
    extra = {"folds": np.array([1, 0]), "labels": [classes[0], classes[-1]]} if labelled else {}
    table = make_table(("007", "größe"), classes, **extra)
    table.write(tmp_path / "p.parquet")
    assert_same(read_table(tmp_path / "p.parquet"), table)


def test_a_table_without_rows_is_read_back(tmp_path):
    table = make_table(())
    table.write(tmp_path / "p.parquet")
    assert_same(read_table(tmp_path / "p.parquet"), table)


def test_the_parquet_can_be_read_by_others(tmp_path):
    table = make_table(folds=np.array([0, 1, 0]), labels=["hats", "shoes", "hats"])
    table.write(tmp_path / "oof.parquet")
    frame = pd.read_parquet(tmp_path / "oof.parquet")
    assert frame.columns.tolist() == ["id", "fold", "label", "hats", "shoes"]
    assert frame["id"].tolist() == ["a", "b", "c"]
    assert frame["shoes"].tolist() == table.probabilities[:, 1].tolist()


def test_writing_leaves_no_draft_and_makes_the_folder(tmp_path):
    make_table().write(tmp_path / "new" / "p.parquet")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.parquet"]


def test_targets_are_positions_in_the_classes():
    table = make_table(classes=("z", "a"), labels=["a", "z", "a"])
    assert table.targets().tolist() == [1, 0, 1]
    assert table.targets().dtype == np.int64


def test_files_that_are_no_probability_table(tmp_path):
    path = tmp_path / "p.parquet"

    def refusal():
        with pytest.raises(EnsembleError) as caught:
            read_table(path)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value).removeprefix(f"{path}: ")

    assert refusal() == "no such file; give a probabilities.parquet that infer wrote"
    path.write_bytes(b"")
    assert refusal().startswith("not a probability table of mmclf, or damaged: ")
    path.write_text("id,hats\na,0.5\n")
    assert refusal().startswith("not a probability table of mmclf, or damaged: ")
    make_table().write(path)
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal().startswith("not a probability table of mmclf, or damaged: ")
    pd.DataFrame({"id": ["a"], "hats": [0.5]}).to_parquet(path)
    assert refusal() == "not a probability table of mmclf: a parquet file without its list of classes"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert refusal() == "not a probability table of mmclf: a parquet file without its list of classes"


# joining folds


def test_folds_are_joined_in_the_order_of_the_catalogue():
    first = make_table(("d", "a"), seed=1, folds=np.array([1, 1]), labels=["hats", "shoes"])
    second = make_table(("c", "b"), seed=2, folds=np.array([0, 0]), labels=["shoes", "hats"])
    joined = join_folds([first, second], ["a", "b", "not held out", "c", "d"])
    assert joined.ids == ["a", "b", "c", "d"]
    assert joined.classes == first.classes
    assert joined.labels == ["shoes", "hats", "shoes", "hats"]
    assert joined.folds is not None
    assert joined.folds.tolist() == [1, 0, 0, 1]
    expected = [first.probabilities[1], second.probabilities[1], second.probabilities[0], first.probabilities[0]]
    assert (joined.probabilities == np.stack(expected)).all()


# averaging


def test_equal_weights_are_the_mean():
    tables = [make_table(seed=seed) for seed in range(3)]
    mean = average(tables, None, ["r0", "r1", "r2"])
    np.testing.assert_allclose(mean.probabilities, np.mean([t.probabilities for t in tables], axis=0), rtol=1e-6)
    assert mean.probabilities.dtype == np.float32
    assert (mean.ids, mean.classes) == (tables[0].ids, tables[0].classes)
    assert mean.folds is None
    assert mean.labels is None


def test_one_table_is_its_own_average():
    table = make_table()
    assert_same(average([table], None, ["r"]), table)
    assert_same(average([table], [0.5], ["r"]), table)


@pytest.mark.parametrize("scale", [1.0, 0.01, 1e6])
def test_only_the_ratio_of_the_weights_counts(scale):
    one, other = make_table(seed=1), make_table(seed=2)
    mean = average([one, other], [3 * scale, 1 * scale], ["r1", "r2"])
    np.testing.assert_allclose(mean.probabilities, 0.75 * one.probabilities + 0.25 * other.probabilities, rtol=1e-6)
    np.testing.assert_allclose(mean.probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_a_weight_of_zero_leaves_a_table_out():
    one, other = make_table(seed=1), make_table(seed=2)
    assert (average([one, other], [0, 2], ["r1", "r2"]).probabilities == other.probabilities).all()


def test_rows_and_classes_are_matched_by_name():
    table = make_table(("a", "b", "c", "d"), ("x", "y", "z"))
    rows, columns = [2, 0, 3, 1], [1, 2, 0]
    other = ProbabilityTable(
        [table.ids[row] for row in rows],
        tuple(table.classes[column] for column in columns),
        table.probabilities[rows][:, columns],
    )
    assert_same(average([table, other], None, ["r1", "r2"]), table)
    assert_same(average([other, table], None, ["r1", "r2"]), other)


def test_other_rows_are_refused():
    with pytest.raises(EnsembleError) as caught:
        average([make_table(), make_table(("a", "b", "x", "y"))], None, ["run 1", "run 2"])
    assert str(caught.value) == (
        "run 2: scored other rows than run 1 (4 and 3; 3 ids in one only, for example 'c'); "
        "score the same table with both"
    )


def test_other_classes_are_refused():
    with pytest.raises(EnsembleError, match=r"^run 2: its classes differ from those of run 1: boots, shoes$"):
        average([make_table(), make_table(classes=("hats", "boots"))], None, ["run 1", "run 2"])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1.0], "found 1 for 2 runs; give one weight a run"),
        ([1.0, 2.0, 3.0], "found 3 for 2 runs"),
        ([1.0, -1.0], "can't be negative, infinite or all zero"),
        ([0.0, 0.0], "can't be negative, infinite or all zero"),
        ([1.0, float("inf")], "can't be negative, infinite or all zero"),
        ([1.0, float("nan")], "can't be negative, infinite or all zero"),
        ([float("nan"), 1.0], "can't be negative, infinite or all zero"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, expected):
    with pytest.raises(EnsembleError) as caught:
        average([make_table(), make_table()], weights, ["r1", "r2"])
    assert str(caught.value).startswith("weights: ")
    assert expected in str(caught.value)


# the submission


def test_submission_has_the_most_probable_class_of_each_row(tmp_path):
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], dtype=np.float32)
    table = ProbabilityTable(["007", "NA", "a,b"], ("größe", "NA", 'with "quotes"'), probabilities)
    path = tmp_path / "out" / "submission.csv"
    with write_parts(tmp_path / "out" / "probabilities.parquet", path, "id", "categories") as write:
        write(table)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["id", "categories"], ["007", "NA"], ["NA", "größe"], ["a,b", 'with "quotes"']]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["probabilities.parquet", "submission.csv"]
    assert_same(read_table(tmp_path / "out" / "probabilities.parquet"), table)


def test_parts_make_the_same_file_as_the_whole_with_a_row_group_each(tmp_path):
    whole = make_table([f'row {n}\n,"' for n in range(10)])
    with write_parts(tmp_path / "parts.parquet", tmp_path / "parts.csv", "id", "label") as write:
        for start in (0, 4, 8):
            rows = slice(start, start + 4)
            write(ProbabilityTable(whole.ids[rows], whole.classes, whole.probabilities[rows]))
    assert_same(read_table(tmp_path / "parts.parquet"), whole)
    assert pq.ParquetFile(tmp_path / "parts.parquet").num_row_groups == 3
    frame = pd.read_csv(tmp_path / "parts.csv", dtype=str)
    assert frame["id"].tolist() == whole.ids
    assert frame["label"].tolist() == [whole.classes[best] for best in whole.probabilities.argmax(axis=1)]


def test_an_error_between_parts_leaves_nothing(tmp_path):
    def fail() -> None:
        with write_parts(tmp_path / "a.parquet", tmp_path / "a.csv", "id", "label") as write:
            write(make_table())
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert list(tmp_path.iterdir()) == []
