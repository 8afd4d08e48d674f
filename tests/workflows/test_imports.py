"""What is imported when: help, a mistake and the package itself cost nothing that isn't needed for them.

.venv/bin/python -m pytest tests/workflows/test_imports.py
"""

import subprocess
import sys
from pathlib import Path

import pytest

import mmclf

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "mlflow", "open_clip", "transformers", "sklearn", "scipy")
ENTRY_POINTS = (
    "check",
    "stage1",
    "stage2",
    "tune",
    "infer",
    "register",
    "ensemble",
    "evaluate",
    "compare",
    "batch",
    "cache",
    "app",
    "main",
)

SCRIPT = """
import contextlib, importlib, io, sys
code = 0
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    try:
        code = importlib.import_module(f"entrypoints.{sys.argv[1]}").main(sys.argv[2:])
    except SystemExit as stopped:
        code = stopped.code
print(code, *sorted(name for name in sys.modules if "." not in name))
"""


def imported(*arguments: str) -> tuple[int, set[str]]:
    """Exit code and modules of an entry point that was run in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    code, *modules = done.stdout.split()
    return int(code), set(modules)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_help_imports_nothing_heavy(name):
    code, modules = imported(name, "--help")
    assert code == 0
    assert not modules & {*HEAVY, "pandas", "numpy", "PIL", "pyarrow"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--csv", "a.csv", "--images", "b", "--overrides", "train.fold=3"],
        ["stage1", "--csv", "a.csv", "--images", "b", "--fold", "x"],
        ["stage1", "--csv", "a.csv", "--images", "b", "--overrides", "train.epoch=3"],
        ["stage1", "--csv", "a.csv", "--images", "b", "--overrides", "model.clip_trainable=true"],
        ["stage2", "--config", "nowhere.yaml"],
        ["stage2", "--overrides", "train.views=3"],
        ["tune", "--csv", "a.csv", "--images", "b", "--trials", "0"],
        ["tune", "--csv", "a.csv", "--images", "b", "--budget", "soon"],
        ["tune", "--csv", "a.csv", "--images", "b", "--metric", "cv/macro_f1"],
        ["tune", "--csv", "a.csv", "--images", "b", "--space", "nowhere.yaml"],
        ["infer", "--csv", "a.csv", "--images", "b", "--overrides", "data.img_sise=3"],
        ["infer", "--csv", "a.csv", "--images", "b", "--config", "nowhere.yaml"],
        ["evaluate", "--csv", "a.csv", "--images", "b", "--report", "no"],
        ["compare", "--runs", "a"],
        ["compare", "--runs", "a,a"],
        ["evaluate", "--csv", "a.csv", "--images", "b", "--overrides", "data.img_sise=3"],
        ["register", "--folds", "x"],
        ["register", "--metric", "accuracy"],
        ["register", "--force", "maybe"],
        ["ensemble", "--weights", "x"],
        ["ensemble", "--runs", "a,a"],
        ["batch", "--data", "a.csv", "--out", "b", "--model", "nonsense"],
        ["batch", "--data", "a.csv", "--out", "b", "--top-k", "0"],
        ["cache", "--unused-days", "3"],
        ["app", "--port", "70000"],
        ["app", "--csv", "a.csv"],
        ["app", "--model", "a,b"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_options_or_configuration_imports_nothing_heavy(arguments):
    code, modules = imported(*arguments)
    assert code == 2
    assert not modules & {*HEAVY, "pandas", "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--csv", "nowhere.csv", "--images", "b"],
        ["stage1", "--csv", "nowhere.csv", "--images", "b"],
        ["stage1", "--csv", "s3://shop/a.csv", "--images", "b"],
        ["stage2", "--csv", "nowhere.csv", "--images", "b"],
        ["tune", "--csv", "nowhere.csv", "--images", "b"],
        ["infer", "--csv", "nowhere.csv", "--images", "b"],
        ["evaluate", "--csv", "nowhere.csv", "--images", "b"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_table_imports_neither_torch_nor_mlflow(arguments):
    code, modules = imported(*arguments)
    assert code == 2
    assert not modules & set(HEAVY)


def test_the_package_imports_nothing():
    script = "import sys, mmclf; dir(mmclf); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {name for name in modules if name.startswith("mmclf")} == {"mmclf"}
    assert not modules & {*HEAVY, "pandas", "numpy", "pydantic"}


def test_its_names_are_there_and_explained():
    assert dir(mmclf) == mmclf.__all__
    for name in mmclf.__all__:
        found = getattr(mmclf, name)
        if name not in ("__version__", "MmclfError"):
            assert found.__name__ == name
            assert "Args:" in found.__doc__
            assert "Raises:" in found.__doc__
    with pytest.raises(AttributeError, match="'mmclf' has no attribute 'stage3'"):
        _ = mmclf.stage3
    with pytest.raises(ImportError):
        from mmclf import stage3  # noqa: F401


def test_an_alias_is_looked_up_without_open_clip():
    script = "import sys, mmclf.records.sources, mmclf.spark.batch; print('open_clip' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
