"""What runs are called and how they are described.

.venv/bin/python -m pytest tests/records/test_naming.py
"""

import pytest

from mmclf.config import build_config, resolve_config
from mmclf.records.naming import TELLING, fold_name, named, stage_name, with_result
from mmclf.records.notes import compose, insert, interrupted
from tests.stages import tree_of


@pytest.mark.parametrize(
    ("config", "overrides", "name"),
    [
        ("configs/stage1.yaml", "", "stage1 dual · 5 epochs at 0.001"),
        ("configs/stage1.yaml", "train.views=0", "stage1 dual · views 0, 5 epochs at 0.001"),
        ("configs/stage1.yaml", "train.seed=7 model.dropout=0", "stage1 dual · 5 epochs at 0.001, dropout 0, seed 7"),
        ("configs/stage2.yaml", "", "stage2 dual · 20 epochs at 1e-05"),
        ("configs/kernel-stage1.yaml", "", "stage1 kernel dual · mean_pool"),
        (
            "configs/kernel-stage1.yaml",
            "model.kernels=[text,words] data.multi_image_mode=first",
            "stage1 kernel dual · kernels text+words",
        ),
        # as many as fit, the most telling first
        (
            "configs/kernel-stage1.yaml",
            "data.img_size=64 data.max_len=20 train.folds=3 train.seed=1",
            "stage1 kernel dual · img_size 64, max_len 20, mean_pool",
        ),
        ("configs/zero-shot-stage1.yaml", "data.multi_image_mode=first", "stage1 zero-shot dual"),
    ],
)
def test_a_stage_is_told_by_what_is_not_as_usual(config, overrides, name):
    stage = "stage2" if "stage2" in config else "stage1"
    assert stage_name(stage, resolve_config(config, overrides), "dual") == name


def test_every_setting_that_tells_has_a_default(tree):
    """Else the name of any run would fail."""
    flat = build_config(tree_of("stage1", tree)).flat()
    assert set(TELLING) <= set(flat)


def test_a_result_comes_last():
    assert with_result("stage1 dual · views 0", 0.92651) == "stage1 dual · views 0 · 0.927"
    assert named("fit luma", "", "version 3") == "fit luma · version 3"
    assert len(named("x" * 300, "0.5")) < 90
    assert fold_name("stage1", resolve_config("configs/kernel-stage1.yaml"), "fold 2") == "stage1 kernel fold 2"


def test_what_counts_comes_first():
    note = compose("**top-1 0.9**", ["one", "two"], ["| a |", "| --- |"])
    assert note == "**top-1 0.9**  \nNext: `one`  \nor `two`\n\n| a |\n| --- |"
    assert insert(note, "Report").split("\n")[:3] == ["**top-1 0.9**  ", "Report  ", "Next: `one`  "]
    assert insert(compose("done", []), "Report") == "done  \nReport"
    assert insert(compose("done", [], ["| a |"]), "Report") == "done  \nReport\n\n| a |"


def test_any_reason_is_shown_as_it_is():
    note = interrupted("FAILED", "line 1: <b>no</b>\n# no heading")
    assert note == "**FAILED**:\n\n    line 1: <b>no</b>\n    # no heading"
    assert "the same command goes on" in interrupted("KILLED", "by Ctrl-C")
    assert len(interrupted("FAILED", "x" * 10**6)) < 5000
