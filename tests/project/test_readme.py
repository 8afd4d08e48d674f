"""The README and the documentation say what is there.

.venv/bin/python -m pytest tests/project/test_readme.py
"""

import ast
import importlib
import inspect
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import yaml

import mmclf
from mmclf.config import known_keys, stage_of
from mmclf.workflows.loaded_model import Model
from mmclf.workflows.results import StageRun

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
CONFIGURATION = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
PAGES = f"{README}\n{CONFIGURATION}"
# key, default, stage
KEYS = re.findall(
    r"^\| `((?:data|model|train|infer)\.[a-z0-9_.]+)` \| (.*?) ?\| (.*?) ?\| .+ \|$", CONFIGURATION, flags=re.M
)
ENTRY_POINTS = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]


def test_the_readme_is_short():
    assert len(README.split()) < 1500


def test_the_table_of_the_configuration_is_complete():
    leaves = [key for key in known_keys() if "." in key and key != "train.lrs"]
    assert [key for key, _, _ in KEYS] == leaves


def test_the_stated_defaults_and_stages_are_the_real_ones():
    from mmclf.config import Config

    for key, default, stage in KEYS:
        section = Config
        *parents, name = key.split(".")
        for parent in parents:
            section = section.model_fields[parent].annotation
        field = section.model_fields[name]
        stated = yaml.safe_load(default.strip().strip("`") or "null")
        assert stated == (None if field.is_required() else field.default), key
        applied = "infer" if key.startswith("infer.") else stage_of(key).replace("stage", "stage ")
        assert stage == applied, key


@pytest.mark.parametrize("command", re.findall(r"^    (mlflow run .*?)(?:  +#.*)?$", PAGES, flags=re.M))
def test_an_mlflow_command_names_what_exists(command):
    words = shlex.split(command)
    assert words[:3] == ["mlflow", "run", "."]
    entry_point = words[words.index("-e") + 1]
    parameters = {words[i + 1].split("=")[0] for i, word in enumerate(words) if word == "-P"}
    known = ENTRY_POINTS[entry_point]["parameters"]
    assert parameters <= set(known)
    assert {name for name, spec in known.items() if "default" not in spec} <= parameters


@pytest.mark.parametrize("command", re.findall(r"^    python -m (entrypoints\..*?)(?:  +#.*)?$", PAGES, flags=re.M))
def test_a_python_command_parses(command):
    module, *options = shlex.split(command)
    defaults = importlib.import_module(module).DEFAULTS
    assert {o.removeprefix("--").replace("-", "_") for o in options if o.startswith("--")} <= set(defaults)


def test_the_python_lines_call_what_there_is():
    """Names of the public face, and keywords of its functions."""
    (block,) = re.findall(r"^    import mmclf\n(?:    .*\n)+", README, flags=re.M)
    calls = [node for node in ast.walk(ast.parse(textwrap.dedent(block))) if isinstance(node, ast.Call)]
    owners = {"mmclf": mmclf, "model": Model}
    assert len(calls) > 5
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        function = getattr(owners[ast.unparse(call.func.value)], call.func.attr)
        assert {keyword.arg for keyword in call.keywords} <= set(inspect.signature(function).parameters)
    for name in re.findall(r"\brun\.(\w+)", block):
        assert name in {*StageRun.__dataclass_fields__, *dir(StageRun)}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_a_make_target_exists(target):
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), flags=re.M)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\]\(([^)#:]+)\)|`((?:mmclf|docs|configs|entrypoints)/[\w./-]*)`", README)))
)
def test_a_file_it_names_exists(path):
    assert (PROJECT / (path[0] or path[1])).exists()
