"""The paired bootstrap against one that draws the rows themselves, and what can't be compared.

.venv/bin/python -m pytest tests/evaluation/test_comparison.py
"""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmclf.errors import ComparisonError
from mmclf.evaluation.comparison import MACRO_F1, METRICS, OOF_TOP1, TOP1, TOP3, compare
from mmclf.evaluation.probabilities import ProbabilityTable
from tests.matrices import draw


def by_rows(ours, other, metric, draws=4000):
    """The same bootstrap the plain way: row numbers with replacement."""
    rng = np.random.default_rng(1)
    targets = ours.targets()

    def value(table, rows):
        p, t = table.probabilities[rows], targets[rows]
        if metric == MACRO_F1:
            return f1_score(t, p.argmax(axis=1), average="macro")
        k = 3 if metric == TOP3 else 1
        return np.mean([target in np.argsort(-row)[:k] for row, target in zip(p, t, strict=True)])

    found = []
    for _ in range(draws if metric != MACRO_F1 else 800):
        rows = rng.integers(0, len(targets), len(targets))
        found.append(value(ours, rows) - value(other, rows))
    every = np.arange(len(targets))
    return value(ours, every) - value(other, every), *np.quantile(found, [0.025, 0.975])


@pytest.mark.parametrize("metric", [OOF_TOP1, TOP3, MACRO_F1])
def test_the_interval_is_that_of_drawing_rows(metric):
    ours, other = draw(seed=1, skill=2.0), draw(seed=2, skill=1.6)
    found = compare(ours, other, metric)
    value, low, high = by_rows(ours, other, metric)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.low == pytest.approx(low, abs=0.012)
    assert found.high == pytest.approx(high, abs=0.012)
    assert found.low < found.value < found.high
    assert found.rows == 200


def test_who_is_better_and_who_is_not():
    good, poor = draw(seed=1, skill=3.0), draw(seed=2, skill=1.0)
    assert compare(good, poor, TOP1).is_better
    assert not compare(poor, good, TOP1).is_better
    assert not compare(good, good, TOP1).is_better
    assert compare(good, good, TOP1).value == 0
    assert compare(good, poor, TOP1) == compare(good, poor, TOP1)  # the seed is fixed


def test_the_order_of_rows_and_classes_does_not_matter():
    ours, other = draw(seed=1), draw(seed=2, skill=1.5)
    rows, columns = np.random.default_rng(0).permutation(200), [2, 0, 3, 1]
    shuffled = ProbabilityTable(
        ids=[other.ids[row] for row in rows],
        classes=tuple(other.classes[column] for column in columns),
        probabilities=other.probabilities[rows][:, columns],
        folds=other.folds[rows],
        labels=[other.labels[row] for row in rows],
    )
    for metric in METRICS:
        assert compare(ours, shuffled, metric) == compare(ours, other, metric)


def test_other_rows_labels_or_folds_are_refused():
    ours = draw()
    with pytest.raises(
        ComparisonError, match=r"other rows: 200 out of fold here, 199 there; 1 ids are in one only, .* 'p199'"
    ):
        compare(ours, draw(rows=199), TOP1)
    with pytest.raises(
        ComparisonError, match=r"other labels: those of 1 of 200 rows differ, for example of 'p3': . here, new there"
    ):
        compare(ours, replace(ours, labels=[*ours.labels[:3], "new", *ours.labels[4:]], classes=ours.classes), TOP1)
    with pytest.raises(
        ComparisonError, match="other folds: those of 160 of 200 rows differ, for example of 'p0': 0 here, 4 there"
    ):
        compare(ours, replace(ours, folds=ours.folds[::-1].copy()), TOP1)
    with pytest.raises(ComparisonError, match="oof_top1"):
        compare(ours, ours, "accuracy")


def test_a_class_that_one_model_alone_knows_is_never_named_by_the_other():
    """A model that puts some rows into a class without rows is worse by just these rows, in either direction."""
    plain = draw()
    taken = np.arange(len(plain)) % 10 == 0
    probabilities = np.insert(plain.probabilities, 2, np.where(taken, 2.0, 0.0), axis=1)
    wide = replace(plain, classes=("a", "b", "bb", "c", "d"), probabilities=probabilities)
    right = plain.probabilities.argmax(axis=1) == plain.targets()
    lost = (right & taken).sum() / len(plain)
    assert compare(wide, plain, "oof_top1").value == pytest.approx(-lost)
    assert compare(plain, wide, "oof_top1").value == pytest.approx(lost)
    assert compare(wide, plain, "macro_f1").value < 0
