"""python -m pytest tests/evaluation/test_reliability.py"""

from dataclasses import replace

import numpy as np
import pytest

from mmclf.evaluation.metrics import calibration_error
from mmclf.evaluation.pool import pool_out_of_fold
from mmclf.evaluation.reliability import precision_by_coverage, reliability, scaled_out_of_fold
from tests.matrices import draw


def test_the_bins_hold_all_rows_and_give_the_calibration_error():
    table = draw(217)
    found = reliability(table.probabilities, table.targets())
    assert len(found.bins) == 15
    assert sum(each.rows for each in found.bins) == 217
    assert [each.confidence for each in found.bins] == sorted(each.confidence for each in found.bins)
    gaps = sum(abs(each.confidence - each.accuracy.value) * each.rows for each in found.bins) / 217
    assert found.error == pytest.approx(gaps) == pytest.approx(calibration_error(table.probabilities, table.targets()))


def test_few_rows_make_few_bins():
    table = draw(4)
    assert [each.rows for each in reliability(table.probabilities, table.targets()).bins] == [1] * 4


def test_what_is_too_sure_is_mended_by_the_temperature_of_the_other_folds():
    table = draw(600)
    sure = table.probabilities.astype(np.float64) ** 4
    sure = replace(table, probabilities=(sure / sure.sum(axis=1, keepdims=True)).astype(np.float32))
    scaled = scaled_out_of_fold(sure)
    np.testing.assert_allclose(scaled, pool_out_of_fold([sure.probabilities], sure.targets(), sure.folds))
    before, after = (reliability(p, sure.targets()).error for p in (sure.probabilities, scaled))
    assert after < before / 2


def test_a_single_fold_has_no_others():
    table = draw(50)
    assert scaled_out_of_fold(replace(table, folds=np.zeros(50, dtype=int))) is None
    assert scaled_out_of_fold(replace(table, folds=None)) is None


def test_precision_falls_to_the_accuracy_at_full_coverage():
    table = draw(300)
    coverage, precision = precision_by_coverage(table.probabilities, table.targets())
    assert coverage[-1] == 1
    assert precision[-1] == pytest.approx((table.probabilities.argmax(axis=1) == table.targets()).mean())
    assert precision[30] > precision[-1]


def test_rows_that_are_as_sure_are_labelled_together():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    coverage, precision = precision_by_coverage(probabilities, np.array([0, 1, 0]))
    np.testing.assert_allclose(coverage, [2 / 3, 1])
    np.testing.assert_allclose(precision, [1 / 2, 2 / 3])
