"""The search space: defaults, files, and what is said of mistakes in them.

.venv/bin/python -m pytest tests/tuning/test_space.py
"""

import pytest

from mmclf.config import keys_of_head, resolve_config
from mmclf.errors import ConfigError
from mmclf.tuning.space import DEFAULTS, Choice, Range, default_space, read_space, with_settings

RECIPES = ("configs/stage1.yaml", "configs/small-stage1.yaml", "configs/kernel-stage1.yaml")


@pytest.fixture(scope="module")
def config():
    return resolve_config("configs/small-stage1.yaml")


def parse(tmp_path, text, config):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(path, config)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_shipped_recipes_lie_in_the_space_of_their_head(recipe):
    config = resolve_config(recipe)
    space = default_space(config, {})
    settings = space.settings_of(config)
    assert settings is not None
    assert with_settings(config, settings) == config


def test_every_head_has_a_default_of_its_own_keys():
    assert set(DEFAULTS) == {"mlp", "kernel"}
    for kind, axes in DEFAULTS.items():
        assert set(axes) <= set(keys_of_head(kind))


def test_what_overrides_fix_is_not_tried(config):
    axes = default_space(config, {"train.epochs": 10, "data.max_len": 160}).axes
    assert "train.epochs" not in axes
    assert len(axes) == len(DEFAULTS["mlp"]) - 1


def test_overrides_that_fix_everything_leave_nothing(config):
    with pytest.raises(ConfigError, match="nothing to try for model"):
        default_space(config, DEFAULTS["mlp"])


def test_a_file(tmp_path, config):
    text = "train.lrs.head: {low: 1e-4, high: 1, log: true}\ntrain.epochs: {low: 3, high: 9}\nmodel.hidden_dim: [8, 16]"
    space = parse(tmp_path, text, config)
    assert space.axes == {
        "train.lrs.head": Range(1e-4, 1.0, True, False),
        "train.epochs": Range(3, 9, False, True),
        "model.hidden_dim": Choice((8, 16)),
    }
    assert space.settings_of(config) is None  # epochs: 10
    assert space.points(100) is None


def test_the_points_of_choices(tmp_path):
    config = resolve_config("configs/kernel-stage1.yaml")
    space = parse(tmp_path, "model.kernels: [[words], [words, chars]]", config)
    assert space.points(2) == [{"model.kernels": ["words"]}, {"model.kernels": ["words", "chars"]}]
    assert space.points(1) is None
    assert space.settings_of(config) is None


def test_equal_spaces_have_equal_digests(tmp_path, config):
    first = parse(tmp_path, "train.epochs: [3, 4]\nmodel.dropout: {low: 0, high: 0.5}", config)
    same = parse(tmp_path, "model.dropout: {high: 0.5, low: 0.0, log: false}\ntrain.epochs: [3, 4]", config)
    other = parse(tmp_path, "train.epochs: [3, 5]\nmodel.dropout: {low: 0, high: 0.5}", config)
    assert first.digest() == same.digest() != other.digest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("[1, 2]", "holds a list"),
        ("train.epochs: 5", "space.yaml: train.epochs: found 5; give a list of values, or {low: "),
        ("train.epochs: {low: 5}", 'train.epochs: found {"low": 5}'),
        ("train.epochs: {low: 5, high: 9, step: 2}", "give a list of values"),
        ("train.epochs: {low: 5, high: 9.5}", "train.epochs: found 9.5 (float), but it should be a valid integer"),
        ("train.epochs: {low: 0, high: 9}", "train.epochs: found 0 (int), but it should be greater than or equal to 1"),
        ("train.epochs: {low: 9, high: 5}", "low is 9 and high is 5; low must be less"),
        ("train.epochs: [5]", "give two values or more"),
        ("train.epochs: [5, 5]", "each once"),
        ("train.epochs: [5, many]", "train.epochs: found 'many'"),
        ("model.dropout: {low: 0, high: 0.5, log: true}", "model.dropout: low is 0.0; with log it must be more than 0"),
        ("model.dropout: {low: 0, high: 0.5, log: 3}", "model.dropout.log: found 3; give `true` or `false`"),
        ("train.epoch: [5, 6]", "train.epoch: is not a key that tune can try for model.head=mlp; did you mean"),
        ("data.max_len: [77, 160]", "data.max_len: is not a key that tune can try for model.head=mlp; keys of this"),
        ("model.kernels: [[words], [chars]]", "model.kernels: is not a key that tune can try for model.head=mlp"),
        ("train: {epochs: [5, 6]}", "train: is not a key that tune can try"),
    ],
)
def test_mistakes_are_named(tmp_path, config, text, said):
    with pytest.raises(ConfigError) as caught:
        parse(tmp_path, text, config)
    assert said in str(caught.value)
    assert "space.yaml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path, config):
    with pytest.raises(ConfigError, match=r"--space: .*nowhere\.yaml: no such file"):
        read_space(tmp_path / "nowhere.yaml", config)
