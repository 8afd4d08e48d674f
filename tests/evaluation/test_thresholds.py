"""From which confidence on rows are labelled, and what that is worth on other rows.

.venv/bin/python -m pytest tests/evaluation/test_thresholds.py
"""

import numpy as np
import pytest

from mmclf.evaluation.probabilities import ProbabilityTable
from mmclf.evaluation.thresholds import LEAST_ROWS, Threshold, find_thresholds, hold_out, reach
from tests.matrices import draw


def sure_rows(confidences, hits):
    """Two classes; each row as sure as said, and right where said."""
    confidences = np.asarray(confidences, dtype=np.float32)
    named = [("a", "b")[row % 2] for row in range(len(hits))]
    probabilities = np.stack(
        [np.where(np.array(named) == name, confidences, 1 - confidences) for name in "ab"], axis=1
    ).astype(np.float32)
    labels = [name if hit else "ab"["ab".index(name) - 1] for name, hit in zip(named, hits, strict=True)]
    ids = [str(row) for row in range(len(hits))]
    return ProbabilityTable(ids, ("a", "b"), probabilities, np.arange(len(hits)) % 5, labels)


def test_the_lowest_confidence_that_reaches_a_precision():
    # the surest 150 are right, of the next 150 half are
    hits = [True] * 150 + [row % 2 == 0 for row in range(150)]
    confidences = np.linspace(0.99, 0.6, 300).astype(np.float32)
    found = {each.precision: each for each in find_thresholds(sure_rows(confidences, hits))}
    for precision, threshold in found.items():
        labelled = confidences >= threshold.confidence
        assert np.mean(np.array(hits)[labelled]) >= precision
        assert threshold.coverage == pytest.approx(labelled.mean())
        more = confidences >= confidences[labelled.sum() + 1]  # two more rows, one of them wrong
        assert np.mean(np.array(hits)[more]) < precision
    assert found[0.99].coverage < found[0.98].coverage <= found[0.95].coverage < found[0.9].coverage


def test_rows_of_one_confidence_are_labelled_together_or_not_at_all():
    hits = [True] * 40 + [True] * 20 + [False] * 20
    table = sure_rows([0.9] * 40 + [0.8] * 40, hits)
    for threshold in find_thresholds(table):
        assert threshold.confidence == pytest.approx(0.9)
        assert threshold.coverage == 0.5


def test_a_few_lucky_rows_are_no_threshold():
    count = LEAST_ROWS - 4  # with the wrong ones that follow, less than 0.9 of the least
    assert find_thresholds(sure_rows(np.linspace(0.9, 0.8, 2 * count), [True] * count + [False] * count)) == ()
    assert find_thresholds(sure_rows([], [])) == ()


def test_a_precision_needs_rows_enough_to_be_seen():
    """Of 60 rows none can show 0.99: a single wrong one among them would be 0.983."""
    found = find_thresholds(sure_rows(np.linspace(0.99, 0.9, 60), [True] * 60))
    assert [each.precision for each in found] == [0.9, 0.95, 0.98]


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.98])
def test_it_holds_on_rows_that_it_was_not_chosen_on(precision):
    held = hold_out(draw(rows=4000, skill=2.0), precision)
    assert held.low <= precision <= held.high
    assert 0.1 < held.coverage < 1


def test_a_fold_has_no_part_in_its_own_threshold():
    """A fold whose sure rows are all wrong is still labelled by what the others say, and counts as wrong."""
    hits = np.array([True] * 500)
    hits[::5] = False  # fold 0
    held = hold_out(sure_rows(np.linspace(0.99, 0.9, 500), hits), 0.9)
    assert held.precision < 0.5


def test_where_nothing_is_sure_nothing_is_labelled():
    held = hold_out(draw(rows=400, skill=0.0), 0.98)
    assert held.coverage == 0
    assert np.isnan(held.precision)


def test_what_a_threshold_reaches_on_other_rows_is_counted():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    hits = np.array([True, False, True, True])
    held = reach(Threshold(0.95, 0.8, 0.4), confidence, hits)
    assert (held.precision, held.coverage) == (0.5, 0.5)
    assert held.low < 0.5 < held.high
    nothing = reach(Threshold(0.95, 0.95, 0.4), confidence, hits)
    assert np.isnan(nothing.precision)
    assert nothing.coverage == 0
