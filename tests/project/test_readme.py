"""The README says what is there.

.venv/bin/python -m pytest tests/project/test_readme.py
"""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from mmclf.config import known_keys

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
ENTRY_POINTS = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]


def test_the_table_of_the_configuration_is_complete():
    listed = re.findall(r"^\| `((?:data|model|train|infer)\.[a-z0-9_.]+)` \|", README, flags=re.M)
    leaves = [key for key in known_keys() if "." in key and key != "train.lrs"]
    assert listed == leaves


def test_the_stated_defaults_are_the_real_ones():
    from mmclf.config import DataConfig, InferConfig, ModelConfig, TrainConfig

    sections = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig, "infer": InferConfig}
    for key, default in re.findall(r"^\| `((?:data|model|train|infer)\.[a-z0-9_]+)` \| ([^|]*) \|", README, flags=re.M):
        section, name = key.split(".")
        field = sections[section].model_fields[name]
        stated = yaml.safe_load(default.strip().strip("`") or "null")
        assert stated == (None if field.is_required() else field.default), key


@pytest.mark.parametrize("command", re.findall(r"^    (mlflow run .*?)(?:  +#.*)?$", README, flags=re.M))
def test_an_mlflow_command_names_what_exists(command):
    words = shlex.split(command)
    assert words[:3] == ["mlflow", "run", "."]
    entry_point = words[words.index("-e") + 1]
    parameters = {words[i + 1].split("=")[0] for i, word in enumerate(words) if word == "-P"}
    known = ENTRY_POINTS[entry_point]["parameters"]
    assert parameters <= set(known)
    assert {name for name, spec in known.items() if "default" not in spec} <= parameters


@pytest.mark.parametrize("command", re.findall(r"^    python -m (entrypoints\..*)$", README, flags=re.M))
def test_a_python_command_parses(command):
    module, *options = shlex.split(command)
    defaults = importlib.import_module(module).DEFAULTS
    assert {o.removeprefix("--").replace("-", "_") for o in options if o.startswith("--")} <= set(defaults)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_a_make_target_exists(target):
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), flags=re.M)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\]\(([^)#:]+)\)|`((?:mmclf|docs|configs|entrypoints)/[\w./-]*)`", README)))
)
def test_a_file_it_names_exists(path):
    assert (PROJECT / (path[0] or path[1])).exists()
