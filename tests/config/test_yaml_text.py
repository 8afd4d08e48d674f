"""Configuration files that are too large, too deep, or no files.

.venv/bin/python -m pytest tests/config/test_yaml_text.py
"""

import os

import pytest

from mmclf.config import resolve_config
from mmclf.config.yaml_text import MOST_BYTES, MOST_LEVELS
from tests.trees import refusal

TOO_DEEP = "not valid YAML: lists and sections lie in each other more than 20 levels deep"
STAGE = """model: {clip_trainable: false}
train: {epochs: 2, batch_size: 4, lrs: {image_encoder: 0, text_encoder: 0, head: 1}}
"""


def refused_text(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return refusal(path).removeprefix(f"{path}: ")


def bomb(levels, line="a{}: &a{} [{}]\n", copies=9):
    """Each level holds the one before so many times."""
    text = "a0: &a0 {k: x}\n"
    return text + "".join(line.format(n, n, ", ".join([f"*a{n - 1}"] * copies)) for n in range(1, levels + 1))


# aliases


@pytest.mark.parametrize(
    "text",
    [
        bomb(9),
        bomb(40, "a{}: &a{} {{<<: [{}]}}\n", 2),
        bomb(4000, copies=1),
    ],
    ids=["lists", "merged sections", "chain"],
)
def test_aliases_that_blow_up_are_refused_before_they_are_written_out(tmp_path, text):
    message = refused_text(tmp_path, text)
    assert message.startswith(("not valid YAML: more than 10,000 values\n", TOO_DEEP))


def test_aliases_and_merge_keys_of_an_ordinary_size_are_read(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(STAGE + "infer: {img_sizes: &s [32, 64]}\n")
    assert resolve_config(path).infer.img_sizes == [32, 64]
    path.write_text("base: &b {clip_trainable: false}\n" + STAGE.replace("{clip_trainable: false}", "{<<: *b}"))
    assert refusal(path).endswith("base: unknown key; known keys here: data, model, train, infer")
    path.write_text(STAGE.replace("head: 1}", "head: &h 1}, weight_decay: *h"))
    assert resolve_config(path).train.weight_decay == 1.0


def test_an_alias_in_an_override_is_bounded_too():
    nested = "&a0 [x, x, x, x, x, x, x, x, x, x]"
    for level in range(1, 8):
        nested = f"&a{level} [{nested}{f', *a{level - 1}' * 9}]"
    assert refusal("configs/stage1.yaml", f"data.text_cols='{nested}'").startswith("overrides: data.text_cols: '&a7 [")


# depth and size


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_deep_nesting_is_named(tmp_path, opening):
    for count in (MOST_LEVELS + 1, 5000):
        closing = {"[": "]", "{a: ": "}", "[{a: ": "}]"}.get(opening, "") * count
        assert refused_text(tmp_path, opening * count + "x" + closing).startswith(TOO_DEEP)


def test_nesting_that_is_deep_enough_for_any_configuration_is_read(tmp_path):
    message = refused_text(tmp_path, "data: " + "[" * (MOST_LEVELS - 2) + "]" * (MOST_LEVELS - 2))
    assert message.startswith("data: found [[[")


def test_a_large_file_is_refused_by_its_size(tmp_path):
    assert refused_text(tmp_path, "# comment\n" * (MOST_BYTES // 10 + 1)) == (
        "has 131,080 bytes, and a configuration at most 131,072; is it another file?"
    )


def test_many_values_are_refused(tmp_path):
    assert refused_text(tmp_path, f"data: {{text_cols: [{'a, ' * 10_001}]}}").startswith(
        "not valid YAML: more than 10,000 values\n"
    )


def test_sections_from_python_may_not_be_deep_either():
    tree = {}
    for _ in range(5000):
        tree = {"data": tree}
    assert refusal(tree).startswith("configuration: lists and sections lie in each other more than 20 levels deep")
    circle = {}
    circle["data"] = circle
    assert "Circular reference" in refusal(circle)
    assert refusal("configs/stage1.yaml", circle).startswith("overrides: lists and sections lie in each other")


# no files


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(os.devnull)], ids=["pipe", "device"])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path, make):
    path = tmp_path / "recipe.yaml"
    make(path)
    assert refusal(path) == f"{path}: is a pipe or a device, not a file; save the configuration as a file"


@pytest.mark.parametrize(("name", "reason"), [("a\0b", "embedded null byte"), ("a" * 5000, "File name too long")])
def test_a_name_that_no_file_can_have(name, reason):
    assert refusal(name) == f"{name}: can't be read: {reason}"


@pytest.mark.parametrize("key", ["data.groups_csv", "data.classes_csv"])
@pytest.mark.parametrize("path", ["a\0b", "~no-such-user-here/x.csv"])
def test_a_path_in_a_value_that_no_file_can_have(key, path):
    assert refusal("configs/stage1.yaml", {key: path}).startswith(f"{key}: {path!r} can't be the name of a file: ")


def test_a_folder_of_a_backbone_that_can_not_be():
    message = refusal("configs/stage1.yaml", {"model.name": "local-dir:a\0b"})
    assert message.startswith(r"model.name: 'a\x00b' can't be the name of a file: ")
