"""Planted errors are found, and groups count for as much as their labels agree.

.venv/bin/python -m pytest tests/evaluation/test_label_errors.py
"""

from dataclasses import replace

import numpy as np
import pytest

from mmclf.evaluation.label_errors import count_errors, doubt, label_issues, with_groups
from tests.matrices import CLASSES, draw


@pytest.fixture
def planted():
    """A matrix of a good model of which 20 of 400 labels are wrong, and bool (rows,), which."""
    table = draw(400, skill=4.0)
    wrong = np.zeros(400, dtype=bool)
    wrong[np.random.default_rng(1).choice(400, 20, replace=False)] = True
    shifted = [CLASSES[(CLASSES.index(label) + 1) % 4] if w else label for label, w in zip(table.labels, wrong)]  # noqa: B905
    return replace(table, labels=shifted), wrong


def test_most_of_the_first_are_planted(planted):
    table, wrong = planted
    issues = label_issues(table)
    assert wrong[[issue.row for issue in issues[:20]]].mean() > 0.8
    assert [issue.doubt for issue in issues] == sorted((issue.doubt for issue in issues), reverse=True)
    for issue in issues:
        assert issue.suggested == table.probabilities[issue.row].argmax()
        assert issue.suggested != table.targets()[issue.row]
        assert issue.given_probability <= issue.suggested_probability


def test_the_count_is_near_the_truth(planted):
    table, wrong = planted
    assert 0.6 * wrong.sum() < count_errors(table.probabilities, table.targets()) < 1.8 * wrong.sum()
    assert count_errors(np.eye(4)[table.targets()], table.targets()) == 0


def test_a_class_without_rows_is_never_counted():
    beliefs = np.array([[0.6, 0.1, 0.3], [0.1, 0.6, 0.3]])
    assert count_errors(beliefs, np.array([0, 1])) == 0


def test_the_less_probable_the_given_class_the_more_doubt():
    beliefs = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.0, 1.0]])
    found = doubt(beliefs, np.zeros(4, dtype=int))
    assert (np.diff(found) > 0).all()
    assert np.isfinite(found).all()


def test_the_labels_of_a_group_decide_where_they_agree():
    """Of ten groups of four, one has a label that differs; the model is unsure of everything."""
    groups = [f"g{row // 4}" for row in range(40)]
    targets = np.array([row // 4 % 3 for row in range(40)])
    targets[5] = 0
    unsure = np.full((40, 3), 1 / 3)
    beliefs = with_groups(unsure, targets, groups)
    assert beliefs.sum(axis=1) == pytest.approx(np.ones(40))
    assert beliefs[5].argmax() == 1
    assert (beliefs.argmax(axis=1) != targets).sum() == 1
    assert doubt(beliefs, targets).argmax() == 5


def test_groups_of_mixed_labels_say_nothing():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 60)
    groups = [f"g{row // 3}" for row in range(60)]
    mixed = np.arange(60) % 3
    np.testing.assert_allclose(with_groups(probabilities, mixed, groups), probabilities)
    np.testing.assert_array_equal(with_groups(probabilities, mixed, None), probabilities)
