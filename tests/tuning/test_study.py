"""Proposals, pruning and importances, on a function instead of heads.

.venv/bin/python -m pytest tests/tuning/test_study.py
"""

import math

import pytest
from PIL import Image

from mmclf.tuning.plots import plot_history, plot_importance
from mmclf.tuning.space import Choice, Range, Space
from mmclf.tuning.study import Study, importances
from mmclf.tuning.trials import GOALS, FoldScore, State, Trial, complete_trials, estimates

SPACE = Space({"rate": Range(1e-4, 1.0, True, False), "width": Range(1, 9, False, True), "kind": Choice(("a", "b"))})
GRID = Space({"kind": Choice(("a", "b", "c")), "parts": Choice((["x"], ["x", "y"]))})
LOSS, TOP1 = GOALS["cv/loss"], GOALS["cv/top1_mean"]
# folds that differ by more than settings do
HARDNESS = (0.0, 2.0, -1.0, 0.5, 1.0)


def loss(settings) -> float:
    return abs(math.log10(settings["rate"]) + 2) + (0.1 if settings["kind"] == "b" else 0.0)


def run(study: Study, goal, number: int, past) -> Trial | None:
    """A trial, pruned where the study says so."""
    settings = study.propose()
    if settings is None:
        return None
    reached = loss(settings) if "rate" in settings else len(settings["parts"]) + (settings["kind"] == "c")
    folds, state = [], State.COMPLETE
    for fold, hard in enumerate(HARDNESS):
        folds.append(FoldScore(fold, reached + hard, -reached - hard))
        if study.is_hopeless(folds) and len(folds) < len(HARDNESS):
            state = State.PRUNED
            break
    mean = sum(fold.of(goal) for fold in folds) / len(folds)
    trial = Trial(number, settings, state, tuple(folds), {goal.metric: mean} if state == State.COMPLETE else {})
    study.end(trial)
    return trial


def search(count: int, *, goal=LOSS, space=SPACE, given=None, past=(), seed=7) -> list[Trial]:
    study, trials = Study(space, goal, seed, given, past), list(past)
    while len(trials) < count:
        trial = run(study, goal, len(trials), trials)
        if trial is None:
            break
        trials.append(trial)
    return trials


@pytest.fixture(scope="module")
def searched() -> list[Trial]:
    return search(25)


def test_it_finds_the_better_end_and_gives_up_the_worse(searched):
    best = complete_trials(searched, LOSS)[0]
    assert loss(best.settings) < 0.3
    pruned = [trial for trial in searched if trial.state == State.PRUNED]
    assert len(pruned) > 5
    assert {len(trial.folds) for trial in pruned} == {2}
    # none that was given up is better than the best
    assert min(loss(trial.settings) for trial in pruned) > loss(best.settings)


@pytest.mark.parametrize("cut", [1, 9, 14])
def test_a_search_that_goes_on_proposes_what_it_would_have_proposed(searched, cut):
    assert search(25, past=searched[:cut]) == searched


def test_a_failed_trial_counts_and_is_not_the_best(searched):
    failed = Trial(2, searched[2].settings, State.FAILED, reason="the loss is nan")
    found = search(6, past=[*searched[:2], failed])
    assert [trial.number for trial in found] == list(range(6))
    assert complete_trials(found, LOSS)[0].number != 2
    assert 2 not in estimates(found, LOSS)


def test_more_is_better_for_top_1():
    found = search(15, goal=TOP1)
    best = complete_trials(found, TOP1)[0]
    assert best.value(TOP1) == max(trial.value(TOP1) for trial in found if trial.state == State.COMPLETE)


def test_what_is_given_goes_first():
    given = {"rate": 0.5, "width": 3, "kind": "b"}
    assert search(1, given=given)[0].settings == given


def test_a_small_space_is_tried_through_once():
    given = {"kind": "b", "parts": ["x", "y"]}
    found = search(30, space=GRID, given=given)
    assert found[0].settings == given
    assert len(found) == 6
    assert len({str(trial.settings) for trial in found}) == 6
    assert search(30, space=GRID, given=given, past=found[:3]) == found


def test_a_pruned_trial_is_estimated_on_the_folds_that_it_shares(searched):
    found = estimates(searched, LOSS)
    offset = sum(HARDNESS) / len(HARDNESS)
    for trial in searched:
        assert found[trial.number] == pytest.approx(loss(trial.settings) + offset)
    assert estimates([], LOSS) == {}


def test_what_matters_is_found_and_drawn(searched, tmp_path):
    shares = importances(SPACE, LOSS, 0, searched)
    assert next(iter(shares)) == "rate"
    assert shares["rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(SPACE, LOSS, 0, searched) == shares
    plot_importance(tmp_path / "importance.png", searched, LOSS, SPACE, shares)
    plot_history(tmp_path / "history.png", searched, LOSS, searched[0].value(LOSS))
    for name in ("importance.png", "history.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_one_trial_says_nothing_of_importance_and_one_key_is_all_of_it(searched, tmp_path):
    assert importances(SPACE, LOSS, 0, searched[:1]) == {}
    alone = Space({"rate": SPACE.axes["rate"]})
    only = [Trial(t.number, {"rate": t.settings["rate"]}, t.state, t.folds, t.figures) for t in searched]
    assert importances(alone, LOSS, 0, only) == {"rate": 1.0}
    plot_importance(tmp_path / "one.png", searched[:1], LOSS, SPACE, {})
    plot_history(tmp_path / "first.png", searched[:1], LOSS, None)
