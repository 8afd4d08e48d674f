"""What scores together must read the rows in the same way.

.venv/bin/python -m pytest tests/records/test_sources.py
"""

from types import SimpleNamespace

import pytest

from mmclf.config import build_config
from mmclf.errors import ConfigError
from mmclf.records.sources import Source, Use, check_together, find_sources
from mmclf.scoring.mixture import Mixture


def source(tree, label, folds=(0, 1), text_cols=("title",), overrides=""):
    checkpoints = [SimpleNamespace(meta=SimpleNamespace(fold=fold, text_cols=text_cols)) for fold in folds]
    return Source(label, label, Mixture.of(checkpoints, build_config(tree, overrides)))


def test_a_source_says_what_it_is(tree):
    assert str(source(tree, "stage2 run 12")) == "folds 0, 1 of stage2 run 12"
    assert str(source(tree, "mmclf version 3", folds=[4])) == "fold 4 of mmclf version 3"
    assert str(source(tree, "mmclf version 3", folds=[None])) == "the model of all rows of mmclf version 3"


def test_text_columns_are_those_trained_on_unless_others_are_named(tree):
    assert source(tree, "a", text_cols=("title", "text")).text_cols == ["title", "text"]
    assert source(tree, "a", text_cols=("title", "text"), overrides="data.text_cols=[text]").text_cols == ["text"]


def test_sources_that_read_rows_alike_score_together(tree):
    check_together([source(tree, "a"), source(tree, "b", overrides="data.img_size=48")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"overrides": "data.multi_image_mode=mean_pool"}, r"data\.multi_image_mode: first and mean_pool"),
        ({"text_cols": ("title", "description")}, r"data\.text_cols: \['title'\] and \['title', 'description'\]"),
    ],
)
def test_sources_that_read_rows_differently_are_refused(tree, change, said):
    with pytest.raises(ConfigError, match=rf"a and b read the table in different ways \({said}\)"):
        check_together([source(tree, "a"), source(tree, "b", **change)])


def test_a_model_named_twice_is_refused_before_it_is_looked_for():
    with pytest.raises(ConfigError, match="a model is named twice"):
        find_sources(None, "models:/mmclf/1, models:/mmclf/1", Use())
