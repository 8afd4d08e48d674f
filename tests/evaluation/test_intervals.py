"""The intervals of figures, against a direct computation.

.venv/bin/python -m pytest tests/evaluation/test_intervals.py
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from mmclf.evaluation.intervals import (
    RESAMPLES,
    bootstrap,
    bootstrap_scores,
    difference,
    draw_rows,
    mean_interval,
    resampled,
    wilson,
)
from mmclf.evaluation.metrics import calibration_error, log_loss, macro_f1, top_k
from mmclf.evaluation.row_scores import RowScores
from tests.matrices import draw


@pytest.mark.parametrize("groups", [None, [f"g{row // 3}" for row in range(200)]], ids=["rows", "groups"])
def test_a_resample_has_the_figures_of_the_rows_that_it_repeats(groups):
    table = draw()
    probabilities, targets = table.probabilities, table.targets()
    found = resampled(RowScores.of(probabilities, targets), groups)
    times = next(draw_rows(len(table), groups))
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
    for times in [*draw_rows(40, groups)][:2]:
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


def test_the_mean_of_values_has_the_interval_that_theory_says():
    values = np.random.default_rng(0).normal(0.1, 1, 500)
    found = mean_interval(values)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(500), rel=0.1)
    assert found == mean_interval(values)
    # each of them ten times over says no more where these are groups, as differences of hits or of any number
    for once in (values, np.sign(values)):
        groups = [f"g{row}" for row in range(500) for _ in range(10)]
        widths = [i.high - i.low for i in (mean_interval(once), mean_interval(np.repeat(once, 10), groups))]
        assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_a_difference_is_as_sure_as_both_of_its_figures_together():
    one, other = wilson(60, 100), wilson(150, 200)
    found = difference(one, other)
    assert found.value == pytest.approx(-0.15)
    # Newcombe's tenth method by hand
    assert found.low == pytest.approx(-0.15 - np.hypot(0.6 - one.low, other.high - 0.75))
    assert found.high == pytest.approx(-0.15 + np.hypot(one.high - 0.6, 0.75 - other.low))
    assert difference(one, one).low < 0 < difference(one, one).high


def test_the_same_rows_are_drawn_whatever_the_memory_allows(monkeypatch):
    whole = np.concatenate([*draw_rows(50, None)])
    monkeypatch.setattr("mmclf.evaluation.intervals.CELLS", 7 * 50)
    parts = [*draw_rows(50, None)]
    assert max(map(len, parts)) == 7
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_parts_of_a_table_have_its_figures_together():
    table = draw()
    cut = [slice(0, 70), slice(70, 71), slice(71, 200)]
    parts = [RowScores.of(table.probabilities[part], table.targets()[part]) for part in cut]
    assert bootstrap_scores(RowScores.join(parts)) == bootstrap(table)
    p, t = table.probabilities, table.targets()
    found = {name: each.value for name, each in bootstrap(table).items()}
    expected = {"top1": top_k(p, t, 1), "top3": top_k(p, t, 3), "macro_f1": macro_f1(p, t), "loss": log_loss(p, t)}
    assert found == pytest.approx(expected | {"calibration_error": calibration_error(p, t)}, abs=1e-9)


def test_the_interval_of_a_mean_covers_that_of_noise_and_shrinks_with_the_rows():
    rng = np.random.default_rng(0)
    few, many = (mean_interval(rng.normal(0.1, 1, rows)) for rows in (100, 10_000))
    assert few.low < few.value < few.high
    assert few.high - few.low == pytest.approx(2 * 1.96 / 10, rel=0.15)
    assert 0 < many.low < many.value < many.high
