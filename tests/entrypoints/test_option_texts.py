"""How the texts of options are read.

.venv/bin/python -m pytest tests/entrypoints/test_option_texts.py
"""

import pytest

from entrypoints.options import (
    parse_count,
    parse_duration,
    parse_flag,
    parse_fold,
    parse_ids,
    parse_port,
    parse_share,
    parse_weights,
)
from mmclf.errors import ConfigError

DIGITS = "9" * 5000  # more than Python reads


@pytest.mark.parametrize("text", [DIGITS, "10000000000", "0", "-1", "1.5", "1e3", "", "many", "²"])
def test_a_count_that_is_none(text):
    with pytest.raises(ConfigError, match=r"^--top-k: found .*; give a number of 1 or more$"):
        parse_count("top-k", text)


@pytest.mark.parametrize("text", [DIGITS, "-1", "", "none", "1.0"])
def test_a_fold_that_is_none(text):
    with pytest.raises(ConfigError, match=r"^--fold: found .*; give `all` or the number of a fold$"):
        parse_fold("fold", text)


@pytest.mark.parametrize("text", [DIGITS + "s", "nans", "infh", "-1s", "0s", "s", "5", "5d", "h5"])
def test_a_time_that_is_none(text):
    with pytest.raises(ConfigError, match=r"^--budget: found .*; give a time such as 90s, 10m or 2h$"):
        parse_duration("budget", text)


@pytest.mark.parametrize("text", ["nan", "inf", "1", "-0.1", DIGITS, "", "90%"])
def test_a_share_that_is_none(text):
    with pytest.raises(ConfigError, match=r"^--precision: found .*; give a share below 1, as 0.98, or 0 for none$"):
        parse_share("precision", text)


@pytest.mark.parametrize("text", ["1,,2", "a", "1;2"])
def test_weights_that_are_none(text):
    with pytest.raises(ConfigError, match=r"^--weights: found .*; give numbers separated by commas, one a run$"):
        parse_weights("weights", text)


@pytest.mark.parametrize("text", ["True", "1", "", "yes"])
def test_a_flag_that_is_none(text):
    with pytest.raises(ConfigError, match=r"^--force: found .*; give `true` or `false`$"):
        parse_flag("force", text)


@pytest.mark.parametrize("text", ["65536", "-1", "", "http", DIGITS])
def test_a_port_that_is_none(text):
    with pytest.raises(ConfigError, match=r"^--port: found .*; give a number from 0 to 65535, 0 for any that is free$"):
        parse_port("port", text)


def test_what_is_meant_is_read():
    assert (parse_port("port", "0"), parse_port("port", "65535")) == (0, 65535)
    assert (parse_count("n", "1000000000"), parse_count("n", "0", least=0)) == (10**9, 0)
    assert (parse_fold("fold", "all"), parse_fold("fold", "3")) == (None, 3)
    assert parse_duration("budget", "") is None
    assert (parse_share("p", "0.98"), parse_share("p", "0")) == (0.98, 0.0)
    assert (parse_weights("w", ""), parse_weights("w", "1, 2.5")) == (None, [1.0, 2.5])
    assert (parse_flag("f", "true"), parse_flag("f", "false")) == (True, False)
    assert parse_ids(" a, b,,c ") == ["a", "b", "c"]
