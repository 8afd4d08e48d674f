"""python -m pytest tests/project/test_project.py"""

import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from mlflow.projects._project_spec import load_project

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.y*ml"))
MLPROJECT = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))
ENTRY_POINTS = MLPROJECT["entry_points"]
# the home or data folder of some machine, or a Windows drive; put together so that this file doesn't hold one
MACHINE_PATH = re.compile(r"(?<![\w.:<>~$}/-])/(?:home|root|Users|work|mnt|data|scratch|media)/[\w.]|\b[A-Z]:\\\w")


def tracked_files():
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def header(path):
    """The comment that a file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.removeprefix("#").strip() for line in lines[:count]]


# requirements


def test_conda_yaml_and_pyproject_name_the_same_requirements():
    environment = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(pip) == sorted(project["dependencies"])
    assert len(pip) == len(set(pip))


def test_conda_yaml_names_one_python_that_pyproject_allows():
    environment = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))["dependencies"]
    (python,) = [entry for entry in environment if isinstance(entry, str) and entry.startswith("python")]
    # `--env-manager uv` reads `python=X.Y` only
    assert re.fullmatch(r"python=\d\.\d+", python)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert [int(n) for n in python.removeprefix("python=").split(".")] >= [int(n) for n in oldest.split(".")]


def test_no_lock_file_makes_uv_ignore_conda_yaml():
    assert not (ROOT / "uv.lock").exists()


# MLproject


def test_mlflow_reads_the_project():
    project = load_project(str(ROOT))
    assert project.name == "mmclf"
    assert {"main", "stage1", "stage2", "infer", "ensemble"} <= set(ENTRY_POINTS)
    for name in ENTRY_POINTS:
        assert project.get_entry_point(name).name == name
    assert (ROOT / MLPROJECT["conda_env"]).is_file()


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS))
def test_the_parameters_of_an_entry_point_are_its_options(name):
    defaults = importlib.import_module(f"entrypoints.{name}").DEFAULTS
    parameters = ENTRY_POINTS[name]["parameters"]
    assert {key: parameter.get("default") for key, parameter in parameters.items()} == defaults
    assert list(parameters) == list(defaults)
    # a `path` that doesn't exist leaves its run RUNNING, and there is no optional one
    assert {parameter["type"] for parameter in parameters.values()} <= {"string"}
    for parameter in parameters.values():
        assert set(parameter) <= {"type", "default"}


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS))
def test_the_command_of_an_entry_point_passes_every_parameter(name):
    entry = ENTRY_POINTS[name]
    assert "\n" not in entry["command"]
    words = shlex.split(entry["command"])
    assert words[:3] == ["python", "-m", f"entrypoints.{name}"]
    passed = dict(zip(words[3::2], words[4::2], strict=True))
    assert passed == {f"--{key.replace('_', '-')}": f"{{{key}}}" for key in entry["parameters"]}


def test_every_module_with_a_main_is_an_entry_point():
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "entrypoints").glob("*.py")}
    # listing the cache and asking a model are no experiments, and `mlflow run` would make a run of each
    assert {name for name, text in sources.items() if "\ndef main(" in text} == {*ENTRY_POINTS, "cache", "app"}


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS))
def test_every_option_is_explained_by_help(name, capsys):
    module = importlib.import_module(f"entrypoints.{name}")
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for option in module.DEFAULTS:
        assert re.search(rf"^  --{option.replace('_', '-')} .*\S", shown, re.MULTILINE)


# what is shipped


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_config_says_how_it_is_run(path):
    commands = [line for line in header(path) if re.match(r"(mlflow run|python -m|make) ", line)]
    assert commands, f"{path}: its header names no command"
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        elif words[0] == "mlflow":
            assert (words[words.index("-e") + 1] if "-e" in words else "main") in ENTRY_POINTS
        else:
            assert words[2].removeprefix("entrypoints.") in ENTRY_POINTS


def test_the_default_configs_exist():
    for entry in ENTRY_POINTS.values():
        config = entry["parameters"].get("config", {}).get("default")
        assert not config or (ROOT / config).is_file()


@pytest.mark.parametrize("text", ["in /{}/me/train.csv", '"/{}/x"', "path=/{}/x"])
def test_the_search_for_machine_paths_finds_them(text):
    assert MACHINE_PATH.search(text.format("home"))
    assert not MACHINE_PATH.search("https://site.org/{}/me and ~/{}/x and a/{}/b".replace("{}", "home"))


def test_no_tracked_file_holds_a_path_of_some_machine():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
