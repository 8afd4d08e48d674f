"""The notebook of the documentation runs from top to bottom, in a process and a folder of its own.

.venv/bin/python -m pytest tests/project/test_notebook.py
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import mlflow_store

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOK = json.loads((PROJECT / "docs" / "python-door.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

# what the cells leave, looked at after the last of them
CHECKS = """
import json
print(json.dumps({
    "rows": [len(run.out_of_fold), len(pd.read_csv(shop.train_csv))],
    "columns": list(run.out_of_fold.columns)[:3],
    "top1": [run.figures["cv_top1_mean"], figures["top1"]],
    "predicted": [len(predictions), len(frame)],
}))
"""


def test_it_is_a_notebook_without_outputs():
    assert NOTEBOOK["nbformat"] == 4
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("number", range(len(CODE)))
def test_a_cell_is_plain_python(number):
    ast.parse(CODE[number])  # no %magic and no !command


def test_it_runs_from_top_to_bottom(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join([*CODE, CHECKS]), encoding="utf-8")
    with mlflow_store(tmp_path):
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["rows"][0] == found["rows"][1]
    assert found["columns"] == ["id", "fold", "label"]
    assert found["predicted"][0] == found["predicted"][1]
    for top1 in found["top1"]:
        assert 1 / 28 < top1 <= 1  # the shop has 28 classes
