"""Values that would cost more memory or time than any use is worth, and messages that stay short.

.venv/bin/python -m pytest tests/config/test_bounds.py
"""

import pytest

from mmclf.config import resolve_config
from tests.trees import refusal

STAGE1 = "configs/stage1.yaml"
MOST = {
    "data.img_size": 2048,
    "data.max_len": 8192,
    "data.max_megapixels": 178,
    "data.num_workers": 256,
    "model.hidden_dim": 65_536,
    "train.epochs": 10_000,
    "train.batch_size": 65_536,
    "train.grad_accum": 10_000,
    "train.early_stop_patience": 10_000,
    "train.views": 1000,
    "train.lora_rank": 1024,
    "train.folds": 100,
    "infer.batch_size": 65_536,
}


@pytest.mark.parametrize("key", MOST)
def test_a_number_has_an_upper_bound_that_is_named(key):
    assert resolve_config(STAGE1, {key: MOST[key]}).flat()[key] == MOST[key]
    for value in (MOST[key] + 1, 10**30):
        message = refusal(STAGE1, {key: value})
        assert message == (f"overrides: {key}: found {value} (int), but it should be less than or equal to {MOST[key]}")


@pytest.mark.parametrize(
    ("key", "item", "most"),
    [
        ("data.text_cols", "title", 100),
        ("model.kernels", "image", 9),
        ("model.templates", "a {}", 1000),
        ("model.sides", "text", 2),
        ("infer.img_sizes", 224, 16),
    ],
)
def test_a_list_has_an_upper_bound_that_is_named(key, item, most):
    assert resolve_config(STAGE1, {key: [item] * most}).flat()[key] == [item] * most
    message = refusal(STAGE1, {key: [item] * (most + 1)})
    assert message.startswith(f"overrides: {key}: found [")
    assert message.endswith(f"but list should have at most {most} items after validation, not {most + 1}")


def test_every_number_of_the_configuration_is_bounded():
    """A key that is added later and counts something is looked at here."""
    config = resolve_config(STAGE1, "data.num_workers=1 train.views=1 train.lora_rank=1")
    counted = {key for key, value in config.flat().items() if isinstance(value, int) and not isinstance(value, bool)}
    assert counted - {"train.seed"} == set(MOST)


# messages


def test_what_was_found_is_shown_by_its_beginning():
    assert refusal(STAGE1, {"data.img_size": "x" * 5000}) == (
        f"overrides: data.img_size: found '{'x' * 79}... (str), but it should be a valid integer"
    )
    assert len(refusal(STAGE1, {"data." + "k" * 5000: 1})) < 500
    assert len(refusal(STAGE1, "data.id_col='" + "x" * 5000)) < 500
    assert len(refusal(STAGE1, "x" * 5000)) < 500
    assert len(refusal(STAGE1, "data.id_col=[" + "x" * 5000)) < 500


def test_many_mistakes_are_listed_up_to_a_point():
    lines = refusal(STAGE1, {f"data.key{number}": 1 for number in range(500)}).splitlines()
    assert len(lines) == 21
    assert lines[-1] == f"{STAGE1}: 480 more"
