"""Changes to a configuration.

.venv/bin/python -m pytest tests/config/test_overrides.py
"""

from pathlib import Path

import pytest

from mmclf.config import build_config, parse_overrides, resolve_config
from tests.trees import refusal, small_tree

STAGE1 = Path(__file__).resolve().parents[2] / "configs" / "stage1.yaml"


def test_overrides_are_yaml_values_split_like_a_shell_line():
    text = "a.b=1 c.d='two words' e=1e-3 f=[x,'\"y z\"'] g=null h= i=\"it's\" j=-2.5E+4 k=true l=7e2 m=a=b"
    assert parse_overrides(text) == {
        "a.b": 1,
        "c.d": "two words",
        "e": 0.001,
        "f": ["x", "y z"],
        "g": None,
        "h": None,
        "i": "it's",
        "j": -25000.0,
        "k": True,
        "l": 700.0,
        "m": "a=b",
    }


def test_no_overrides_change_nothing():
    assert parse_overrides("") == parse_overrides("  ") == {}
    assert resolve_config(STAGE1, "") == resolve_config(STAGE1)


def test_overrides_win_over_the_file_and_the_defaults():
    config = build_config(small_tree(), "train.epochs=9 data.img_size=336 data.text_cols='[name, long text]'")
    assert (config.train.epochs, config.data.img_size) == (9, 336)
    assert config.data.text_cols == ["name", "long text"]
    assert config.train.batch_size == 4


def test_a_date_is_the_text_that_was_meant():
    assert build_config(small_tree(), "data.id_col=2026-01-31").data.id_col == "2026-01-31"


def test_a_path_with_spaces_and_a_colon_survives():
    config = build_config(small_tree(), "model.name='local-dir:/a folder/clip' model.pretrained=null")
    assert (config.model.name, config.model.pretrained) == ("local-dir:/a folder/clip", None)


def test_a_whole_section_can_be_given():
    config = build_config(small_tree(), "train.lrs='{image_encoder: 1, text_encoder: 2, head: 3}'")
    assert config.train.lrs.model_dump() == {"image_encoder": 1.0, "text_encoder": 2.0, "head": 3.0}
    message = refusal(STAGE1, "train.lrs='{head: 3}'")
    assert message.startswith("overrides: train.lrs.image_encoder: missing")


def test_build_config_leaves_the_tree_as_it_was():
    tree = small_tree()
    build_config(tree, "train.lrs.head=0.5 data.img_size=64")
    assert tree == small_tree()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("train.epochs", "'train.epochs' is not key=value; write for example \"train.epochs=3\""),
        ("=3", "'=3' is not key=value"),
        ("train..epochs=3", "'train..epochs=3' is not key=value"),
        ("train.epochs=3 train.epochs=4", "train.epochs is given twice"),
        ("data.id_col='x", "No closing quotation; close the quote"),
        ("data.text_cols=[title, text]", "data.text_cols: '[title,' is not a YAML value; put quotes around a value"),
        ("data.id_col=2026-13-01", "data.id_col: '2026-13-01' is not a YAML value"),
        ("data.id_col=!!int", "data.id_col: '!!int' is not a YAML value"),
        ("data.id_col=0x_", "data.id_col: '0x_' is not a YAML value"),
        ("train.epochs.x=3", "train.epochs.x: train.epochs is not a section"),
        ("train.lrs.head.x.y=3", "train.lrs.head.x.y: train.lrs.head is not a section"),
        ("train=3", "train: found 3 (int), but it should be a section of keys"),
        ("train=3 train.epochs=3", "train.epochs: train is not a section"),
    ],
)
def test_unusable_override_is_named(overrides, expected):
    message = refusal(STAGE1, overrides)
    assert message.startswith("overrides: ")
    assert expected in message
