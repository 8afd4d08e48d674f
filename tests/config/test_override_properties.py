"""Any text as overrides: a configuration, or a sentence.

.venv/bin/python -m pytest tests/config/test_override_properties.py
"""

import contextlib
import shlex

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mmclf.config import Config, known_keys, parse_overrides, read_yaml, resolve_config
from mmclf.config.yaml_text import Dumper, parse_yaml
from mmclf.errors import ConfigError

STAGE1 = "configs/stage1.yaml"
KEYS = st.sampled_from([key for key in known_keys() if "." in key])
words = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.one_of(
    st.sampled_from([None, True, False, "no", "1e5", "~", "0x1"]), st.integers(), st.floats(allow_nan=False), words
)
values = st.one_of(scalars, st.lists(scalars, max_size=4), st.dictionaries(words, scalars, max_size=3))
# what YAML and the shell's rules trip over
PIECES = [*"'\"[]{}=. :-\\#\n|%\0é\ud800", "=", "data", "train", "epochs", "folds", "img_size", "&a", "*a", "<<", "? "]
PIECES += ["!!int", "!!binary", "1", "1e999", ".nan", "2026-13-01"]


def resolved(overrides):
    """Whether such overrides make a configuration or are refused in a sentence."""
    try:
        return isinstance(resolve_config(STAGE1, overrides), Config)
    except ConfigError as error:
        return bool(str(error))


@given(st.dictionaries(KEYS, values, max_size=4))
@example({"data.id_col": "\u0085", "data.label_col": "a\u2028b", "data.fold_col": "\ufeff"})
def test_values_written_as_yaml_between_quotes_come_back(given_values):
    written = {
        key: yaml.dump(value, Dumper=Dumper, default_flow_style=True, allow_unicode=True, width=10**6)
        for key, value in given_values.items()
    }
    line = " ".join(shlex.quote(f"{key}={text}") for key, text in written.items())
    assert parse_overrides(line) == given_values


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.text(max_size=40)))
@example("train.epochs=!!int")
@example("data.id_col=\ud800")
@example("data.groups_csv='\"a\\0b\"'")
def test_any_text_ends_in_a_configuration_or_a_sentence(text):
    assert resolved(text)


@given(KEYS, st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=20)))
def test_any_value_of_any_key_ends_so_too(key, text):
    assert resolved(f"{key}={text}")
    assert resolved({key: text})
    assert resolved(shlex.quote(f"{key}={text}"))


@given(st.dictionaries(st.one_of(KEYS, words), values, max_size=4))
def test_any_mapping_ends_so_too(given_values):
    assert resolved(given_values)


@given(st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        found = read_yaml(path)
    except ConfigError as error:
        found = {"message": str(error)}
        assert found["message"].startswith(f"{path}: ")
    assert isinstance(found, dict)


@given(st.text(max_size=60))
def test_any_yaml_is_a_value_or_no_yaml(text):
    with contextlib.suppress(yaml.YAMLError):
        parse_yaml(text)


def test_a_configuration_that_is_changed_is_among_those_that_are_resolved():
    assert resolve_config(STAGE1, "train.epochs=3 'data.id_col=é'").flat()["data.id_col"] == "é"
    with pytest.raises(ConfigError):
        resolve_config(STAGE1, "data.img_size=1e999")
