"""Two runs on the same rows, beside a comparison done the plain way.

.venv/bin/python -m pytest tests/evaluation/test_paired.py
"""

import numpy as np
import pytest

from mmclf.evaluation.comparison import OOF_TOP1, compare
from mmclf.evaluation.metrics import calibration_error, log_loss, macro_f1, top_k
from mmclf.evaluation.paired import class_changes, pair
from mmclf.evaluation.row_scores import RowScores
from tests.matrices import draw


def scores_of(table) -> RowScores:
    return RowScores.of(table.probabilities, table.targets())


@pytest.fixture(scope="module")
def tables():
    return draw(seed=1, skill=2.0), draw(seed=2, skill=1.2)


def test_the_differences_are_those_of_the_figures(tables):
    first, other = tables
    found = pair(scores_of(first), scores_of(other)).differences
    targets = first.targets()
    for name, figure in {
        "top1": lambda p: top_k(p, targets, 1),
        "top3": lambda p: top_k(p, targets, 3),
        "macro_f1": lambda p: macro_f1(p, targets),
        "loss": lambda p: log_loss(p, targets),
        "calibration_error": lambda p: calibration_error(p, targets),
    }.items():
        expected = figure(other.probabilities) - figure(first.probabilities)
        assert found[name].value == pytest.approx(expected, abs=1e-9)
        assert found[name].low < found[name].value < found[name].high


def test_the_interval_is_that_of_the_other_paired_bootstrap(tables):
    first, other = tables
    found = pair(scores_of(first), scores_of(other)).differences["top1"]
    expected = compare(other, first, OOF_TOP1)
    assert found.low == pytest.approx(expected.low, abs=0.012)
    assert found.high == pytest.approx(expected.high, abs=0.012)


def test_it_is_narrower_than_that_of_runs_on_other_rows():
    """Runs that err on the same rows."""
    first = draw(rows=400, seed=1, skill=1.5)
    other = draw(rows=400, seed=1, skill=1.6)
    differences = pair(scores_of(first), scores_of(other)).differences["top1"]
    hits = scores_of(first).hits
    alone = 2 * 1.96 * np.sqrt(2 * hits.mean() * (1 - hits.mean()) / 400)
    assert differences.high - differences.low < alone / 3


def test_groups_are_drawn_whole(tables):
    first, other = (scores_of(table) for table in tables)
    groups = [f"g{row // 20}" for row in range(200)]
    alone, grouped = (pair(first, other, each).differences["top1"] for each in (None, groups))
    assert alone.value == grouped.value
    assert (alone.low, alone.high) != (grouped.low, grouped.high)


def test_what_is_shown(tables):
    first, other = (scores_of(table) for table in tables)
    worse, better, same = pair(first, other), pair(other, first), pair(first, first)
    assert [each.verdict() for each in (worse, better, same)] == ["worse", "better", "open"]
    assert [each.verdict("loss") for each in (worse, better, same)] == ["worse", "better", "open"]
    assert worse.mended.tolist() == (~first.hits & other.hits).tolist()
    assert worse.broken.tolist() == better.mended.tolist()
    assert not same.mended.any()
    assert not same.broken.any()


def test_each_class_has_its_change(tables):
    first, other = (scores_of(table) for table in tables)
    found = class_changes(first, other)
    assert sorted(each.number for each in found) == [0, 1, 2, 3]
    net = [abs(each.mended - each.broken) for each in found]
    assert net == sorted(net, reverse=True)
    for each in found:
        here = first.targets == each.number
        assert each.rows == here.sum()
        assert each.change.value == pytest.approx(other.hits[here].mean() - first.hits[here].mean())
        assert each.now - each.before == pytest.approx((each.mended - each.broken) / each.rows)
        assert each.change.low <= each.change.value <= each.change.high
    assert sum(each.broken for each in found) == (first.hits & ~other.hits).sum()
