"""python -m pytest tests/evaluation/test_metrics.py"""

import math

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from mmclf.evaluation.metrics import calibration_error, macro_f1, per_class, top_k


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_agrees_with_scikit_learn(k, dtype):
    rng = np.random.default_rng(k)
    probabilities = rng.dirichlet(np.ones(7), size=200).astype(dtype)
    targets = rng.integers(0, 7, 200)
    expected = top_k_accuracy_score(targets, probabilities, k=k, labels=range(7))
    assert top_k(probabilities, targets, k) == pytest.approx(expected)
    assert 0 < expected < 1


def test_top_k_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    targets = np.array([0, 1, 0])
    assert top_k(probabilities, targets, 1) == pytest.approx(1 / 3)
    assert top_k(probabilities, targets, 2) == pytest.approx(2 / 3)
    assert top_k(probabilities, targets, 3) == 1.0


def test_ties_go_to_the_lower_class():
    constant = np.full((4, 4), 0.25, dtype=np.float32)
    targets = np.arange(4)
    assert [top_k(constant, targets, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    partly = np.array([[0.4, 0.2, 0.4]])
    assert [top_k(partly, np.array([target]), 1) for target in range(3)] == [1.0, 0.0, 0.0]
    assert [top_k(partly, np.array([target]), 2) for target in range(3)] == [1.0, 0.0, 1.0]


def test_ties_go_to_the_lower_class_among_many():
    # numpy's default sort happens to keep the order of short rows
    rng = np.random.default_rng(0)
    probabilities, targets = rng.integers(0, 4, (100, 60)) / 90, rng.integers(0, 60, 100)
    for k in (1, 5, 20):
        named = [[c for _, c in sorted(zip(-row, range(60), strict=True))[:k]] for row in probabilities]
        expected = np.mean([target in row for target, row in zip(targets.tolist(), named, strict=True)])
        assert top_k(probabilities, targets, k) == pytest.approx(expected)


def test_with_fewer_classes_than_k_every_row_counts():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    assert top_k(probabilities, np.array([1, 1]), 3) == 1.0
    assert top_k(probabilities, np.array([1, 1]), 1) == 0.0


def test_no_rows_have_no_score():
    assert math.isnan(top_k(np.empty((0, 3)), np.empty(0, dtype=np.int64), 1))


def test_the_inputs_stay_as_they_were():
    probabilities, targets = np.array([[0.1, 0.9], [0.6, 0.4]]), np.array([1, 1])
    before = probabilities.copy(), targets.copy()
    assert isinstance(top_k(probabilities, targets, 1), float)
    assert (probabilities == before[0]).all()
    assert (targets == before[1]).all()


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


def test_figures_of_each_class_by_hand():
    # class 3 has no rows, class 4 is never named, class 5 is neither
    targets = np.array([0, 0, 0, 1, 1, 2, 4])
    predicted = [0, 0, 1, 1, 2, 3, 0]
    found = per_class(one_hot(predicted, 6), targets)
    assert found["rows"].dtype == np.int64
    assert found["rows"].tolist() == [3, 2, 1, 0, 1, 0]
    np.testing.assert_allclose(found["precision"], [2 / 3, 1 / 2, 0, 0, 0, 0])
    np.testing.assert_allclose(found["recall"], [2 / 3, 1 / 2, 0, 0, 0, 0])
    np.testing.assert_allclose(found["f1"], [2 / 3, 1 / 2, 0, 0, 0, 0])
    # the mean over the five classes that occur
    assert macro_f1(one_hot(predicted, 6), targets) == pytest.approx((2 / 3 + 1 / 2) / 5)


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    # class 0: named four times, three of them right, of its five rows; class 1: named twice, none right
    targets, predicted = np.array([0, 0, 0, 0, 0, 1]), [0, 0, 0, 1, 1, 0]
    found = per_class(one_hot(predicted, 2), targets)
    np.testing.assert_allclose(found["precision"], [3 / 4, 0])
    np.testing.assert_allclose(found["recall"], [3 / 5, 0])
    np.testing.assert_allclose(found["f1"], [2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5), 0])
    assert macro_f1(one_hot(predicted, 2), targets) == pytest.approx(1 / 3)


def test_no_rows_have_no_figures():
    found = per_class(np.empty((0, 3)), np.empty(0, dtype=np.int64))
    assert sorted(found) == ["f1", "precision", "recall", "rows"]
    assert all(values.tolist() == [0, 0, 0] for values in found.values())
    assert math.isnan(macro_f1(np.empty((0, 3)), np.empty(0, dtype=np.int64)))


def test_calibration_error_by_hand():
    # two rows a bin: fourteen bins with confidence 0.9 and one of two right, the least sure with 0.55 and both right
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1]] * 14 + [[0.45, 0.55]] * 2)
    targets = np.array([0, 1] * 14 + [1] * 2)
    assert calibration_error(probabilities, targets) == pytest.approx((14 * 0.4 + 0.45) / 15)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
    assert np.isnan(calibration_error(np.zeros((0, 2)), np.zeros(0, dtype=int)))
