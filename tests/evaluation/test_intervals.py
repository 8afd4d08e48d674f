"""The intervals of figures, against a direct computation.

.venv/bin/python -m pytest tests/evaluation/test_intervals.py
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from mmclf.evaluation.intervals import RESAMPLES, bootstrap, draw_rows, resampled, wilson
from mmclf.evaluation.metrics import calibration_error, log_loss, macro_f1, top_k
from tests.matrices import draw


@pytest.mark.parametrize("groups", [None, [f"g{row // 3}" for row in range(200)]], ids=["rows", "groups"])
def test_a_resample_has_the_figures_of_the_rows_that_it_repeats(groups):
    table = draw()
    found = resampled(table, groups)
    probabilities, targets = table.probabilities, table.targets()
    times = draw_rows(len(table), groups)[0]
    for number in range(12):
        rows = np.repeat(np.arange(len(table)), times[number])
        p, t = probabilities[rows], targets[rows]
        assert found["top1"][number] == pytest.approx(top_k(p, t, 1))
        assert found["top3"][number] == pytest.approx(top_k(p, t, 3))
        assert found["macro_f1"][number] == pytest.approx(macro_f1(p, t))
        assert found["loss"][number] == pytest.approx(log_loss(p, t), rel=1e-6)
        assert found["calibration_error"][number] == pytest.approx(calibration_error(p, t), abs=1e-9)
    assert all(len(draws) == RESAMPLES for draws in found.values())


def test_a_group_is_drawn_whole():
    groups = [f"g{row // 4}" for row in range(40)]
    for times in draw_rows(40, groups)[:2]:
        whole = times.reshape(len(times), 10, 4)
        assert (whole == whole[:, :, :1]).all()
        assert (whole[:, :, 0].sum(axis=1) == 10).all()


def test_an_interval_is_as_wide_as_that_of_the_mean_and_the_same_each_time():
    table = draw(1000)
    found = bootstrap(table)
    top1 = found["top1"]
    assert top1.low < top1.value < top1.high
    assert top1.high - top1.low == pytest.approx(2 * 1.96 * np.sqrt(top1.value * (1 - top1.value) / 1000), rel=0.15)
    assert found == bootstrap(table)
    assert all(each.low <= each.value <= each.high for each in found.values())


def test_rows_that_are_there_twice_say_no_more_where_they_are_a_group():
    once = draw(150)
    ids = [f"{i}-{n}" for i in once.ids for n in range(2)]
    labels = [label for label in once.labels for _ in range(2)]
    twice = replace(once, ids=ids, labels=labels, probabilities=np.repeat(once.probabilities, 2, axis=0))
    groups = [i.partition("-")[0] for i in ids]
    width = [f.high - f.low for f in (bootstrap(once)["top1"], bootstrap(twice, groups)["top1"])]
    assert width[1] == pytest.approx(width[0], rel=0.1)
    assert bootstrap(twice)["top1"].high - bootstrap(twice)["top1"].low < 0.8 * width[0]


@pytest.mark.parametrize(("right", "rows"), [(0, 5), (5, 5), (7, 20), (1, 1)])
def test_the_interval_of_a_share_is_wilsons(right, rows):
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    found = wilson(right, rows)
    assert (found.value, found.low, found.high) == pytest.approx((right / rows, expected.low, expected.high), abs=1e-6)


def test_no_rows_have_no_share():
    assert np.isnan(wilson(0, 0).value)
