"""Environment variables: one declaration each, one table of them, and no name written anywhere else.

.venv/bin/python -m pytest tests/runtime/test_environment.py
"""

import ast
import contextlib
import os
import re
from pathlib import Path

import pytest

from mmclf.errors import ConfigError
from mmclf.runtime.environment import Variable, declared

PROJECT = Path(__file__).resolve().parents[2]
NAMES = [variable.name for variable in declared()]
SOURCES = sorted(path for folder in ("mmclf", "entrypoints", "demo") for path in (PROJECT / folder).rglob("*.py"))
ELSEWHERE = [path for path in SOURCES if path.name != "environment.py"]


def test_an_unset_or_blank_variable_has_its_default(monkeypatch):
    variable = Variable("MMCLF_TEST", "for this test", "7")
    monkeypatch.delenv("MMCLF_TEST", raising=False)
    assert (variable.get(), variable.integer()) == ("7", 7)
    monkeypatch.setenv("MMCLF_TEST", " ")
    assert variable.get() == "7"
    monkeypatch.setenv("MMCLF_TEST", " 8 ")
    assert (variable.get(), variable.integer()) == ("8", 8)
    monkeypatch.setenv("MMCLF_TEST", "many")
    with pytest.raises(ConfigError, match=r"^MMCLF_TEST: found 'many' .* whole number$"):
        variable.integer()


@pytest.mark.parametrize("before", [None, "", "x"])
def test_a_variable_is_held_for_a_while(monkeypatch, before):
    monkeypatch.delenv("MMCLF_TEST", raising=False)
    if before is not None:
        monkeypatch.setenv("MMCLF_TEST", before)
    with contextlib.suppress(KeyError), Variable("MMCLF_TEST", "for this test").held("y"):
        assert os.environ["MMCLF_TEST"] == "y"
        raise KeyError
    assert os.environ.get("MMCLF_TEST") == before


def test_the_table_lists_what_is_declared_and_nothing_else():
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \| (.*?) ?\| (.*) \|$", text, flags=re.M)
    expected = [(v.name, f"`{v.default}`" if v.default else "", v.meaning) for v in declared()]
    assert rows == expected
    assert len(set(NAMES)) == len(NAMES)


def test_the_page_on_serving_has_the_limits_and_their_defaults():
    text = (PROJECT / "docs" / "serving.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(MMCLF_SERVE_[A-Z_]+)` \| ([0-9,]+) \|", text, flags=re.M)
    expected = [(v.name, v.default) for v in declared() if v.name.startswith("MMCLF_SERVE_")]
    assert sorted((name, default.replace(",", "")) for name, default in found) == sorted(expected)


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_no_other_module_writes_a_name(path):
    """A sentence may name a variable; a literal that is nothing but its name, or one handed to os.environ, may not."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_name = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_name and (node.value in NAMES or re.fullmatch(r"(MMCLF|MLFLOW)_[A-Z_]+", node.value)):
            found.append(f"line {node.lineno}: {node.value}")
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.getenv", "os.environ.get", "os.putenv"):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert found == [], "declare it in mmclf/runtime/environment.py"
