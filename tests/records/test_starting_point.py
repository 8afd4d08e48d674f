"""Which stage-1 run a stage 2 starts from, without a store.

.venv/bin/python -m pytest tests/records/test_starting_point.py
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from mmclf.config import build_config
from mmclf.errors import RunError
from mmclf.records import starting_point
from mmclf.records.starting_point import Wanted, choose_start, find_data, why_not
from mmclf.records.vocabulary import CONFIG_PREFIX, Tag


@pytest.fixture
def wanted(tree) -> Wanted:
    return Wanted(build_config(tree), split="s", folds=[0, 1], classes=["a", "b"], weights_sha256="w")


def run(wanted, run_id="run", overrides=None, **tags):
    config = wanted.config.flat() | (overrides or {})
    known = {Tag.SPLIT: "s", Tag.WEIGHTS: "w", Tag.FOLDS: "0,1", Tag.CSV: "train.csv", Tag.IMAGES: "images"}
    return SimpleNamespace(
        info=SimpleNamespace(run_id=run_id),
        data=SimpleNamespace(
            params={CONFIG_PREFIX + key: str(value) for key, value in config.items()},
            tags=known | {Tag[name]: value for name, value in tags.items()},
        ),
    )


def test_the_newest_that_fits_is_taken(wanted):
    newest, older, oldest = run(wanted, "3", SPLIT="other"), run(wanted, "2"), run(wanted, "1")
    assert choose_start(None, [newest, older, oldest], wanted) is older


@pytest.mark.parametrize(
    ("overrides", "tags", "said"),
    [
        ({"model.hidden_dim": 33}, {}, "model.hidden_dim is 33 there and 32 here"),
        ({"model.pretrained": "openai"}, {}, "model.pretrained is openai there and None here"),
        ({}, {"SPLIT": "other"}, "its rows, labels or folds differ"),
        ({}, {"WEIGHTS": "other"}, "its backbone had other weights under the same name"),
        ({}, {"FOLDS": "1,2"}, "it has no fold 0"),
    ],
)
def test_what_differs_is_named(wanted, overrides, tags, said):
    [reason] = why_not(run(wanted, overrides=overrides, **tags), wanted)
    assert said in reason


def test_only_the_folds_that_are_trained_must_be_there(wanted):
    partial = run(wanted, FOLDS="1")
    assert why_not(partial, replace(wanted, folds=[1])) == []
    assert why_not(partial, wanted) == ["it has no fold 0"]


@pytest.mark.parametrize(
    ("classes", "said"), [(["a", "c"], r"its classes differ \('b', 'c' in one"), (["a", "b"], "its rows, labels")]
)
def test_where_none_fits_the_newest_says_why(wanted, monkeypatch, classes, said):
    checkpoint = SimpleNamespace(meta=SimpleNamespace(classes=classes))
    monkeypatch.setattr(starting_point, "fold_checkpoints", lambda client, run: [checkpoint])
    runs = [run(wanted, "2", SPLIT="other"), run(wanted, "1", SPLIT="other")]
    with pytest.raises(RunError, match=rf"no stage-1 run fits this stage 2 \(2 looked at\); stage-1 run 2: {said}"):
        choose_start(None, runs, wanted)


def test_data_is_that_of_the_newest_run_with_the_same_settings(wanted):
    other, fits = run(wanted, overrides={"model.hidden_dim": 33}, CSV="other.csv"), run(wanted)
    assert find_data([other, fits], wanted.config) == ("train.csv", "images")
    frame = run(wanted)
    del frame.data.tags[Tag.CSV]
    assert find_data([frame], wanted.config) == ("", "images")
