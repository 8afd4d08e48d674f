"""python -m pytest tests/benchmarks/test_label_errors.py"""

import numpy as np
import pytest

from benchmarks import label_errors


def test_five_per_cent_get_another_label_and_the_same_each_time():
    targets = np.arange(400) % 7
    replaced = label_errors.replace_labels(targets, 7, seed=3)
    assert (replaced != targets).sum() == 20
    assert ((replaced >= 0) & (replaced < 7)).all()
    np.testing.assert_array_equal(replaced, label_errors.replace_labels(targets, 7, seed=3))
    assert (replaced != label_errors.replace_labels(targets, 7, seed=4)).any()


@pytest.mark.parametrize("name", label_errors.RANKINGS)
def test_a_ranking_finds_errors_that_are_plain(name):
    """Ten labels of a hundred are replaced, and the model is sure of the former ones."""
    targets = np.arange(100) % 4
    p = np.full((100, 4), 0.02) + 0.92 * np.eye(4)[targets]
    given = targets.copy()
    given[:10] = (given[:10] + 1) % 4
    wrong = given != targets
    assert label_errors.found(label_errors.RANKINGS[name](p, given), wrong) == 1.0
    assert label_errors.found(-label_errors.RANKINGS[name](p, given), wrong) == 0.0


@pytest.mark.usefixtures("luma")
def test_it_runs(capsys):
    assert label_errors.main(["--data", "luma", "--seeds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1] for line in lines[2:] if line}
    assert next(iter(rows)) == "logistic regression, self-confidence"
    assert list(rows)[-1] == "counted as wrong"
    assert all(0 <= float(rows[f"kernel head, {name}"]) <= 1 for name in label_errors.RANKINGS)
