"""The four entry points by `mlflow run`, one after another with no run id given, as a user types them.

.venv/bin/python -m pytest tests/project/test_mlflow_run.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.stages import write_tree
from tests.stores import mlflow_store

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Path]:
    with mlflow_store(tmp_path_factory.mktemp("store")) as folder:
        yield folder


def mlflow_run(store: Path, entry_point: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlflow", "run", str(PROJECT), "-e", entry_point, "--env-manager", "local"]
    for name, value in parameters.items():
        command += ["-P", f"{name}={value}"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, cwd=store, capture_output=True, text=True, check=False)


def test_the_stages_find_each_other(store, shop, tree, tmp_path):
    tree = {**tree, "train": {**tree["train"], "epochs": 1}}
    write_tree(tmp_path / "stage 1.yaml", "stage1", tree)  # a space on purpose
    write_tree(tmp_path / "stage 2.yaml", "stage2", tree)
    train = {"csv": str(shop.train_csv), "images": str(shop.images)}
    overrides = "train.label_smoothing=0.1 train.lrs.head=1e-2"
    figures = {}
    for entry_point, parameters in {
        "stage1": train | {"config": str(tmp_path / "stage 1.yaml"), "overrides": overrides},
        "stage2": {"config": str(tmp_path / "stage 2.yaml"), "overrides": overrides},
        "infer": {"csv": str(shop.test_csv), "images": str(shop.images)},
        "ensemble": {},
    }.items():
        done = mlflow_run(store, entry_point, **parameters)
        assert done.returncode == 0, done.stderr
        figures[entry_point] = json.loads(done.stdout.strip().splitlines()[-1])
    client = MlflowClient()
    for entry_point, result in figures.items():
        run = client.get_run(result["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["stage"] == entry_point
        # the run that `mlflow run` made is the one that was used
        assert run.data.tags["mlflow.project.entryPoint"] == entry_point
        assert "mlflow.parentRunId" not in run.data.tags
    # and there is no other parent beside them
    runs = client.search_runs(["0"])
    assert sum("mlflow.parentRunId" not in run.data.tags for run in runs) == 4
    stage1 = client.get_run(figures["stage1"]["run_id"])
    assert stage1.data.params["cfg/train.label_smoothing"] == "0.1"
    assert client.get_run(figures["stage2"]["run_id"]).data.tags["stage1_run"] == stage1.info.run_id


def test_a_failure_closes_the_run_with_its_reason(store, shop):
    done = mlflow_run(store, "stage1", csv="nowhere.csv", images=str(shop.images))
    assert done.returncode != 0
    assert "error: nowhere.csv: no such file" in done.stderr
    client = MlflowClient()
    [run] = client.search_runs(["0"], "status = 'FAILED'")
    assert "nowhere.csv" in run.data.tags["error"]
