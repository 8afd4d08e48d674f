"""The figures of a cross-validation against scikit-learn's, and those of a single fold.

.venv/bin/python -m pytest tests/evaluation/test_crossvalidation.py
"""

from dataclasses import fields

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

from mmclf.evaluation.comparison import METRICS as COMPARED
from mmclf.evaluation.crossvalidation import Figures, figures_of
from mmclf.evaluation.probabilities import ProbabilityTable
from mmclf.records.vocabulary import CV, METRICS, Metric

CLASSES = ("a", "b", "c", "d", "e")


def draw(folds):
    rng = np.random.default_rng(0)
    rows = len(folds)
    targets = np.arange(rows) % len(CLASSES)
    scores = rng.normal(size=(rows, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[targets]
    probabilities = (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float32)
    ids, labels = [f"p{row}" for row in range(rows)], [CLASSES[target] for target in targets]
    return ProbabilityTable(ids, CLASSES, probabilities, np.asarray(folds), labels)


def test_the_figures_are_scikit_learns():
    table = draw(np.repeat([2, 0, 1], [50, 70, 80]))
    targets, predicted = table.targets(), table.probabilities.argmax(axis=1)
    figures = figures_of(table)
    by_fold = [accuracy_score(targets[table.folds == fold], predicted[table.folds == fold]) for fold in (0, 1, 2)]
    assert [fold.fold for fold in figures.folds] == [0, 1, 2]
    assert [fold.top1 for fold in figures.folds] == pytest.approx(by_fold)
    assert figures.top1_mean == pytest.approx(np.mean(by_fold))
    assert figures.top1_std == pytest.approx(np.std(by_fold))
    assert figures.top3_mean == pytest.approx(np.mean([fold.top3 for fold in figures.folds]))
    assert figures.oof_top1 == pytest.approx(accuracy_score(targets, predicted))
    assert figures.oof_top3 == pytest.approx(top_k_accuracy_score(targets, table.probabilities, k=3))
    assert figures.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert 0 < figures.calibration_error < 1
    assert figures.top1 == f"{np.mean(by_fold):.4f} ± {np.std(by_fold):.4f}"


def test_a_single_fold_has_no_spread():
    figures = figures_of(draw([3] * 40))
    assert figures.is_single
    assert [fold.fold for fold in figures.folds] == [3]
    assert figures.top1 == f"{figures.top1_mean:.4f}"


def test_the_metrics_are_called_like_the_figures():
    recorded = {name.removeprefix(CV) for name in Metric if name.startswith(CV)}
    assert recorded == {field.name for field in fields(Figures)} - {"folds"}
    assert tuple(name.removeprefix(CV) for name in METRICS) == COMPARED
