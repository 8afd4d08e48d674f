"""Runs that `mlflow run` made and whose process was killed before it could name itself.

.venv/bin/python -m pytest tests/records/test_liveness.py
"""

import os
import subprocess
import sys
import time

import pytest
from mlflow.tracking import MlflowClient

from mmclf.records import tracking
from mmclf.records.liveness import UNNAMED, bury_dead
from mmclf.records.vocabulary import Tag
from mmclf.runtime.process import this_process
from tests.stores import mlflow_store


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with mlflow_store(tmp_path_factory.mktemp("store")):
        client = MlflowClient()
        client.search_experiments()
        yield client


def made_by_mlflow_run(client, *, seconds_ago, entry_point="stage1", **tags) -> str:
    """A run as `mlflow run` leaves it before the command starts."""
    given = {"mlflow.source.type": "PROJECT", "mlflow.project.backend": "local", str(Tag.ENTRY_POINT): entry_point}
    start = int(1000 * (time.time() - seconds_ago))
    return client.create_run("0", start_time=start, tags=given | tags).info.run_id


def status(client, run_id) -> str:
    return client.get_run(run_id).info.status


def test_one_that_no_process_has_begun_for_long_counts_as_dead(client):
    run_id = made_by_mlflow_run(client, seconds_ago=UNNAMED + 60)
    assert bury_dead(client, "0") == [run_id]
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert "no process ever began" in run.data.tags[Tag.ERROR]
    assert run.data.tags[Tag.NOTE].startswith("**KILLED**")


def test_one_that_may_still_make_its_environment_is_left_alone(client):
    run_id = made_by_mlflow_run(client, seconds_ago=UNNAMED - 60)
    assert bury_dead(client, "0") == []
    assert status(client, run_id) == "RUNNING"


@pytest.mark.parametrize(("entry_point", "tags"), [("main", {}), ("train", {}), ("stage1", {"process": "here"})])
def test_what_may_be_of_another_project_or_has_a_process_is_left_alone(client, entry_point, tags):
    tags = {name: str(this_process()) for name in tags}
    run_id = made_by_mlflow_run(client, seconds_ago=10 * UNNAMED, entry_point=entry_point, **tags)
    assert bury_dead(client, "0") == []
    assert status(client, run_id) == "RUNNING"


def test_this_processes_own_is_left_alone(client, monkeypatch):
    run_id = made_by_mlflow_run(client, seconds_ago=10 * UNNAMED)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert bury_dead(client, "0") == []
    monkeypatch.delenv("MLFLOW_RUN_ID")
    assert bury_dead(client, "0") == [run_id]


def test_one_that_a_process_of_this_machine_has_in_its_environment_is_left_alone(client):
    run_id = made_by_mlflow_run(client, seconds_ago=10 * UNNAMED)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
        env=os.environ | {"MLFLOW_RUN_ID": run_id},
        stdout=subprocess.PIPE,
    )
    try:
        assert sleeper.stdout.readline() == b"up\n"
        assert bury_dead(client, "0") == []
    finally:
        sleeper.kill()
        sleeper.wait()
        sleeper.stdout.close()
    assert bury_dead(client, "0") == [run_id]


def test_one_that_lives_after_all_takes_its_run_up(client, monkeypatch):
    run_id = made_by_mlflow_run(client, seconds_ago=10 * UNNAMED)
    assert bury_dead(client, "0") == [run_id]
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with tracking.record_scores("demo", "demo", {}):
        run = client.get_run(run_id)
        assert run.info.status == "RUNNING"
        assert Tag.ERROR not in run.data.tags
        assert Tag.NOTE not in run.data.tags
        assert run.data.tags[Tag.PROCESS] == str(this_process())
    assert status(client, run_id) == "FINISHED"
