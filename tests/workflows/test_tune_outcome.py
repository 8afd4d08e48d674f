"""Which trial a search ends with.

.venv/bin/python -m pytest tests/workflows/test_tune_outcome.py
"""

import pytest

from mmclf.config import resolve_config
from mmclf.tuning.space import default_space
from mmclf.tuning.trials import FoldScore, State, Trial
from mmclf.workflows.tune_outcome import Outcome, Task

CONFIG = resolve_config("configs/small-stage1.yaml")
SPACE = default_space(CONFIG, {})


def trial(number: int, value: float) -> Trial:
    figures = {"loss": value, "top1_mean": value, "top1_std": 0.01, "calibration_error": 0.02}
    settings = SPACE.settings_of(CONFIG) | {"train.epochs": 10 + number}
    return Trial(number, settings, State.COMPLETE, (FoldScore(0, value, value),), figures)


def outcome(values, again, *, metric="cv/loss", given=True) -> Outcome:
    trials = [trial(number, value) for number, value in enumerate(values)]
    finalists = sorted(trials, key=lambda t: t.figures["loss"], reverse=metric != "cv/loss")
    return Outcome(Task(CONFIG, SPACE, metric, 9, None), trials, finalists, trials[0] if given else None, again)


def test_the_best_holds_on_other_folds():
    found = outcome([1.2, 0.9, 1.0], {0: 1.1, 1: 0.95, 2: 0.94})
    assert found.winner.number == 1
    assert found.verdict() == (
        "trial 1: loss 0.9000, 1.2000 as given, on the folds that chose it out of 3, which flatters; "
        "on other folds 0.9500, 1.1000 as given"
    )


def test_what_was_given_is_kept_where_the_best_was_luck():
    """As a search on 358 real products went."""
    found = outcome([0.2801, 0.2647], {0: 0.2319, 1: 0.2658})
    assert found.winner is found.given
    assert "none of 2 trials holds against it" in found.verdict()
    assert found.figures()["best_trial"] == 0


@pytest.mark.parametrize(("again", "expected"), [({}, 1), ({0: 0.7, 1: 0.7}, 1), ({0: 0.9, 1: 0.7}, 0)])
def test_more_is_better_for_top_1(again, expected):
    assert outcome([0.7, 0.75], again, metric="cv/top1_mean").winner.number == expected


def test_without_other_folds_or_a_given_trial():
    found = outcome([0.5, 0.4], {}, given=False)
    assert found.winner.number == 1
    assert found.verdict().endswith("which flatters; rows that no trial saw would tell by how much")
    figures = found.figures()
    assert (figures["given"], figures["best_again"], figures["given_again"]) == (None, None, None)
    assert "tune/given" not in found.metrics()
