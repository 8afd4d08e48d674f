"""Real processes, really killed: twenty SIGKILLs, SIGTERM, and the end of `mlflow run`.

.venv/bin/python -m pytest tests/project/test_crash.py
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from benchmarks import crash
from mmclf.store.cache import UNFINISHED, cache_folder
from tests.stages import write_tree
from tests.stores import mlflow_store

PROJECT = Path(__file__).resolve().parents[2]


def test_twenty_kills(capfd):
    assert crash.main(["--kills", "20", "--seed", "1", "--jobs", "stage1", "stage2", "register", "fit"]) == 0
    assert "0 wrong" in capfd.readouterr().out


@pytest.fixture
def store(tmp_path, shop, tree):
    """A store, and a configuration of a stage 1 that takes minutes."""
    with mlflow_store(tmp_path) as folder:
        slow = {**tree, "train": {**tree["train"], "epochs": 10_000, "early_stop_patience": None, "views": 0}}
        write_tree(folder / "stage1.yaml", "stage1", slow)
        yield folder


def wait_for(what: Callable[[], object], seconds: float = 120) -> object:
    """Its first value that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def started_training(store: Path) -> Callable[[], object]:
    """Whether a fold has logged an epoch; asks no store that doesn't exist yet, which would make it."""
    client = MlflowClient()

    def ask() -> object:
        if not (store / "mlflow.db").exists():
            return None
        try:
            runs = client.search_runs(["0"], "tags.role = 'fold'")
        except Exception:  # the store is being made
            return None
        return [run for run in runs if "val/top1" in run.data.metrics]

    return ask


def start(store: Path, shop, *command: str) -> subprocess.Popen[bytes]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=store, stderr=subprocess.PIPE)


def test_asked_to_end_it_keeps_its_state_and_is_gone_within_seconds(store, shop):
    options = ["--config", str(store / "stage1.yaml"), "--csv", str(shop.train_csv), "--images", str(shop.images)]
    process = start(store, shop, "entrypoints.stage1", *options)
    try:
        wait_for(started_training(store))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)  # it has 8 s; a busy machine takes longer to see it
    finally:
        process.kill()
    assert process.returncode == 143
    assert b"Traceback" not in said
    runs = MlflowClient().search_runs(["0"])
    assert {run.info.status for run in runs} == {"KILLED"}
    assert {run.data.tags["error"] for run in runs} == {"killed by SIGTERM"}
    [parent] = [run for run in runs if run.data.tags["role"] == "parent"]
    assert (cache_folder() / UNFINISHED / parent.info.run_id / "fold-0" / "state" / "state.json").is_file()


def test_a_killed_mlflow_run_ends_its_child(store, shop):
    parameters = {"config": store / "stage1.yaml", "csv": shop.train_csv, "images": shop.images}
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    process = start(store, shop, "mlflow", "run", str(PROJECT), "-e", "stage1", "--env-manager", "local", *given)
    children: list[psutil.Process] = []
    try:
        wait_for(started_training(store))
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
    finally:
        process.kill()
        for child in children:
            if child.is_running():
                child.kill()
    assert {run.info.status for run in MlflowClient().search_runs(["0"])} == {"KILLED"}
