"""The logarithmic opinion pool: few weights, learned from held-out rows.

.venv/bin/python -m pytest tests/evaluation/test_pool.py
"""

import numpy as np
import pytest

from mmclf.evaluation.metrics import calibration_error, log_loss
from mmclf.evaluation.pool import KNOTS, Pool, fit_pool, pool_out_of_fold
from tests.matrices import draw


def sharpened(probabilities, power):
    found = probabilities.astype(np.float64) ** power
    return found / found.sum(axis=1, keepdims=True)


def test_a_pool_by_hand():
    one, other = np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(Pool((1.0, 1.0)).combine([one, other]), [[0.8, 0.2]])
    np.testing.assert_allclose(Pool((2.0, 0.0)).combine([one, other]), [[0.64 / 0.68, 0.04 / 0.68]])
    np.testing.assert_allclose(Pool((0.5, 0.5)).combine([one, one]), one)
    by_class = ((0.5, 0.0), (0.0, 0.0))
    expected = np.array([[0.8**1.5, 0.2]]) / (0.8**1.5 + 0.2)
    np.testing.assert_allclose(Pool((1.0, 1.0), by_class).combine([one, other]), expected)
    three = Pool((1.0, 0.0, 2.0), ((0.1,), (0.0,), (0.2,)))
    assert three.only([True, False, True]) == Pool((1.0, 2.0), ((0.1,), (0.2,)))
    # a certain mistake of one member doesn't rule a class out for good
    assert np.isfinite(Pool((1.0, 1.0)).combine([np.array([[1.0, 0.0]]), one])).all()


def test_a_class_that_one_member_alone_knows_keeps_its_probability():
    wide, narrow = np.array([[0.3, 0.2, 0.5]]), np.array([[0.8, np.nan, 0.2]])
    found = Pool((1.0, 1.0)).combine([wide, narrow])
    np.testing.assert_allclose(found, [[0.8 * 0.24 / 0.34, 0.2, 0.8 * 0.1 / 0.34]])
    # also where its weight for the others is nothing, and where several know it
    np.testing.assert_allclose(Pool((0.0, 1.0)).combine([wide, narrow]), [[0.64, 0.2, 0.16]])
    other = np.array([[0.1, 0.4, 0.5]])
    assert Pool((1.0, 0.5, 1.0)).combine([wide, narrow, other])[0, 1] == pytest.approx(0.3)


def test_weights_are_those_of_the_classes_that_every_member_knows():
    table, other = draw(), draw(seed=3)
    targets = table.targets()
    plain = fit_pool([table.probabilities, other.probabilities], targets)
    share = np.random.default_rng(0).random((len(table), 1)) / 2
    wide = np.insert((1 - share) * table.probabilities, [1], share, axis=1)
    narrow = np.insert(other.probabilities, 1, np.nan, axis=1)
    moved = np.where(targets > 0, targets + 1, targets)
    found = fit_pool([wide, narrow], moved)
    np.testing.assert_allclose(found.weights, plain.weights, atol=1e-4)
    by_class = np.array(found.by_class)
    assert (by_class[:, 1] == 0).all()
    np.testing.assert_allclose(np.delete(by_class, 1, axis=1), plain.by_class, atol=1e-3)
    pooled = found.combine([wide, narrow])
    np.testing.assert_allclose(pooled.sum(axis=1), 1)
    np.testing.assert_allclose(pooled[:, [1]], share)
    folds = np.arange(len(table)) % 4
    np.testing.assert_allclose(pool_out_of_fold([wide, narrow], moved, folds)[:, [1]], share)


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_one_member_gets_its_temperature_back(power):
    table = draw(rows=4000, skill=2.0)
    targets = table.targets()
    calibrated = fit_pool([table.probabilities], targets).weights[0]
    found = fit_pool([sharpened(table.probabilities, power)], targets)
    assert found.weights[0] * power == pytest.approx(calibrated, rel=0.02)
    pooled = found.combine([sharpened(table.probabilities, power)])
    assert log_loss(pooled, targets) < log_loss(sharpened(table.probabilities, power), targets) - 0.02
    assert calibration_error(pooled, targets) < 0.03


def test_weights_are_those_of_the_least_loss():
    """No step to any side is better, by the loss itself."""
    tables = [draw(rows=1000, seed=seed, skill=skill) for seed, skill in ((1, 2.0), (2, 1.0))]
    members, targets = [table.probabilities for table in tables], tables[0].targets()
    weights = np.array(fit_pool(members, targets).weights)
    assert weights[0] > weights[1] > 0
    best = log_loss(Pool(tuple(weights)).combine(members), targets)
    for step in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        moved = Pool(tuple(weights + step))  # those by class and the curve are fitted after them
        assert log_loss(moved.combine(members), targets) > best - 1e-4


def test_two_that_err_differently_are_better_together_on_rows_that_the_weights_have_not_seen():
    tables = [draw(rows=1000, seed=seed, skill=1.5) for seed in (1, 2)]
    members, targets, folds = [table.probabilities for table in tables], tables[0].targets(), tables[0].folds
    pooled = pool_out_of_fold(members, targets, folds)
    np.testing.assert_allclose(pooled.sum(axis=1), 1)
    assert log_loss(pooled, targets) < min(log_loss(each, targets) for each in members) - 0.1
    # a fold's rows have no part in its weights: other labels there change nothing there
    changed = np.where(folds == 0, 0, targets)
    np.testing.assert_array_equal(pool_out_of_fold(members, changed, folds)[folds == 0], pooled[folds == 0])
    assert not np.array_equal(pool_out_of_fold(members, changed, folds)[folds == 1], pooled[folds == 1])


def test_a_member_that_says_nothing_is_left_out():
    table = draw(rows=1000, skill=2.0)
    targets = table.targets()
    noise = draw(rows=1000, seed=5, skill=0.0).probabilities
    found = fit_pool([noise, table.probabilities], targets)
    assert found.weights[0] == 0
    assert found.weights[1] == pytest.approx(fit_pool([table.probabilities], targets).weights[0])


def of_other_classes(rows, *, equal=False):
    """Two members, each of which tells another half of the ten classes well, or both alike, and the targets."""
    rng = np.random.default_rng(0)
    targets, classes = rng.integers(10, size=rows), np.arange(10)
    members = []
    for knows in (classes < 5, classes >= 5):
        scores = 0.5 * rng.normal(size=(rows, 10))
        # of a class that a member doesn't know it says as much, but by chance
        scores[:, ~knows] += 0 if equal else 1.5 * rng.normal(size=(rows, 5))
        scores[np.arange(rows), targets] += np.where(knows[targets] | equal, 2.0, 0.2)
        members.append(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))
    return members, targets


def test_a_member_counts_more_for_the_classes_that_it_tells_apart():
    """Also on rows that the weights weren't fitted on."""
    members, targets = of_other_classes(4000)
    half, rest = slice(None, 2000), slice(2000, None)
    found = fit_pool([each[half] for each in members], targets[half])
    added = np.array(found.by_class)
    assert (added[0, :5] > added[0, 5:].max()).all()
    assert (added[1, 5:] > added[1, :5].max()).all()
    assert (np.array(found.weights)[:, None] + added >= 0).all()
    unseen = [each[rest] for each in members]
    plain = Pool(found.weights, curve=found.curve).combine(unseen)
    assert log_loss(found.combine(unseen), targets[rest]) < log_loss(plain, targets[rest]) - 0.05


def test_members_that_tell_all_classes_alike_count_alike_for_all():
    members, targets = of_other_classes(4000, equal=True)
    assert np.abs(fit_pool(members, targets).by_class).max() < 0.1
    members, targets = of_other_classes(60)
    assert np.abs(fit_pool(members, targets).by_class).max() < 0.1  # too few rows to tell


def skewed(probabilities):
    """Said too high where rather sure, with the same first class."""
    first = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    odds = np.log(sure / (1 - sure))
    said = 1 / (1 + np.exp(-(odds + 0.8 * np.exp(-2 * (odds - 1.5) ** 2))))
    found = probabilities * ((1 - said) / (1 - sure))[:, None]
    found[np.arange(len(found)), first] = said
    return found


def test_the_curve_says_how_often_rows_so_sure_are_right():
    """What no weight can: on rows that it wasn't fitted on."""
    table = draw(rows=60_000, skill=2.0)
    targets, folds = table.targets(), table.folds
    found = fit_pool([table.probabilities], targets)
    calibrated = found.combine([table.probabilities])
    bent = skewed(np.clip(calibrated, 1e-6, 1 - 1e-6))
    bent /= bent.sum(axis=1, keepdims=True)
    pooled = pool_out_of_fold([bent], targets, folds)
    np.testing.assert_allclose(pooled.sum(axis=1), 1)
    np.testing.assert_array_equal(pooled.argmax(axis=1), bent.argmax(axis=1))
    weight = fit_pool([bent], targets).weights
    straight = Pool(weight).combine([bent])
    assert calibration_error(pooled, targets) < 0.6 * calibration_error(straight, targets)
    assert log_loss(pooled, targets) < log_loss(straight, targets) - 0.001


@pytest.mark.parametrize("moved", [-3.0, 0.0, 3.0])
def test_the_first_class_stays_the_first_and_the_others_keep_their_shares(moved):
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(5, 0.5), 500)
    rows[:3] = [[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0.2] * 5]
    found = Pool((1.0,), curve=(moved,) * len(KNOTS)).combine([rows])
    straight = Pool((1.0,)).combine([rows])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found.argmax(axis=1), straight.argmax(axis=1))
    assert (found >= 0).all()
    first = straight.argmax(axis=1)[:, None]
    others = [np.delete(np.arange(5), each) for each in first[:, 0]]
    for row in range(10, 60):
        kept, left = straight[row, others[row]], found[row, others[row]]
        np.testing.assert_allclose(left * kept.sum(), kept * left.sum(), atol=1e-12)
    change = found.max(axis=1) - straight.max(axis=1)
    assert (change * np.sign(moved) >= -1e-4).all()
    if not moved:
        np.testing.assert_allclose(found, straight, atol=1e-4)


def test_the_surest_rows_keep_their_order():
    """By far more than 1 - 0.0001, as a threshold for the highest precision needs."""
    rows = np.array([[1 - rest, rest] for rest in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)])
    found = Pool((1.0,), curve=(0.3,) * len(KNOTS)).combine([rows])
    assert (np.diff(found[:, 0]) > 0).all()


def test_few_rows_bend_it_little():
    table = draw(rows=60, skill=2.0)
    assert np.abs(fit_pool([table.probabilities], table.targets()).curve).max() < 0.5
