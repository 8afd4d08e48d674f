"""How far rows are apart, beside other computations, and that chance is called chance.

.venv/bin/python -m pytest tests/evaluation/test_drift.py
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from mmclf.evaluation.drift import accuracy_at_mix, count_labels, of_classes, of_shares, of_values
from tests.matrices import CLASSES, draw


def test_values_are_apart_as_kolmogorov_and_smirnov_have_it():
    rng = np.random.default_rng(0)
    before, now = rng.poisson(5, 300), rng.poisson(6, 200)  # with ties
    found = of_values("words", before, now)
    assert found.apart == pytest.approx(ks_2samp(before, now).statistic)
    assert (found.before, found.now) == (np.median(before), np.median(now))
    assert found.is_more_than_chance == (ks_2samp(before, now).pvalue < 0.05)


@pytest.mark.parametrize("kind", ["values", "shares", "classes"])
def test_rows_of_the_same_kind_are_called_changed_in_one_case_of_twenty(kind):
    rng = np.random.default_rng(1)
    mix = np.array([0.5, 0.3, 0.1, 0.1])
    found = []
    for _ in range(300):
        if kind == "values":
            drift = of_values("a", rng.normal(size=150), rng.normal(size=90))
        elif kind == "shares":
            drift = of_shares("a", rng.random(400) < 0.3, rng.random(200) < 0.3)
        else:
            drift = of_classes("a", rng.multinomial(400, mix), rng.multinomial(100, mix))
        found.append(drift.is_more_than_chance)
    assert 0.01 < np.mean(found) < 0.11


def test_what_has_changed_is_called_so():
    assert of_shares("a", np.arange(200) < 20, np.arange(200) < 60).is_more_than_chance
    drift = of_classes("a", np.array([80, 20]), np.array([50, 50]))
    assert drift.apart == pytest.approx(0.3)
    assert drift.is_more_than_chance


def test_nothing_is_apart_from_itself():
    never = np.zeros(50, dtype=bool)
    for drift in (of_shares("a", never, never), of_values("a", never, never), of_classes("a", CLASS_ROWS, CLASS_ROWS)):
        assert drift.apart == 0
        assert not drift.is_more_than_chance


CLASS_ROWS = np.array([5, 0, 7])


def test_the_accuracy_at_another_mix_is_that_of_rows_drawn_so():
    table = draw(rows=400, skill=1.0)
    labels = {"a": 30, "b": 10, "c": 60}
    rows = [
        row
        for name, times in labels.items()
        for row in np.resize(np.flatnonzero(np.array(table.labels) == name), times * 400)
    ]
    hits = (table.probabilities.argmax(axis=1) == table.targets())[rows]
    found = accuracy_at_mix(table, labels)
    assert found == pytest.approx(hits.mean(), abs=0.01)
    assert accuracy_at_mix(table, {name: table.labels.count(name) for name in CLASSES}) == pytest.approx(
        (table.probabilities.argmax(axis=1) == table.targets()).mean()
    )


def test_it_is_not_known_of_a_class_without_rows():
    table = draw(rows=40)
    known = replace(table, labels=["a"] * 40)
    assert accuracy_at_mix(known, {"b": 1}) is None
    assert accuracy_at_mix(known, {}) is None


def test_rows_of_each_class_are_counted():
    assert count_labels(["b", "a", "b"], ("a", "b", "c")).tolist() == [1, 2, 0]
