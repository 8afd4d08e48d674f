"""What every run has: signs of the machine only where asked for, and why it ended where that was early.

.venv/bin/python -m pytest tests/records/test_tracking.py
"""

import contextlib
import time

import mlflow
import pytest
import sqlalchemy
from mlflow.tracking import MlflowClient

from mmclf.records import tracking
from mmclf.records.failure import note_failure
from mmclf.records.vocabulary import Tag
from tests.catalogs import read_text
from tests.stores import mlflow_store


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with mlflow_store(tmp_path_factory.mktemp("store")):
        yield MlflowClient()


def record(client, error=None):
    """A run, left by an error where there is one; as it is then."""
    expected = pytest.raises(type(error)) if error else contextlib.nullcontext()
    with expected, tracking.record_scores("demo", "demo", {}) as made:
        if error:
            raise error
        time.sleep(1)
    return client.get_run(made.info.run_id)


@pytest.mark.parametrize(("asked", "is_there"), [("", False), ("false", False), ("true", True)])
def test_the_load_of_the_machine_is_recorded_where_asked_for(client, monkeypatch, asked, is_there):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", asked)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    metrics = record(client).data.metrics
    assert any(name.startswith("system/") for name in metrics) == is_there


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(ValueError("a | b"), "FAILED", "ValueError: a | b"), (KeyboardInterrupt(), "KILLED", "interrupted by Ctrl-C")],
)
def test_a_run_that_ended_early_says_so_first(client, error, status, reason):
    run = record(client, error)
    assert run.info.status == status
    assert run.data.tags[Tag.ERROR] == reason
    note = run.data.tags[Tag.NOTE]
    assert note.startswith(f"**{status}**")
    assert note.endswith(f"    {reason}")


def test_a_run_says_what_it_is_from_the_moment_it_is_made(client, monkeypatch):
    def killed(tags):
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking, "set_tags", killed)
    with pytest.raises(KeyboardInterrupt), tracking.active_run("fold 7", {Tag.FOLD: "7"}, None, nested=False):
        pass
    [run] = client.search_runs(["0"], f"tags.{Tag.FOLD} = '7'")
    assert run.info.run_name == "fold 7"
    assert Tag.PROCESS in run.data.tags


def test_a_mistake_of_who_goes_on_with_a_described_run_leaves_its_description(client, monkeypatch):
    with tracking.record_scores("demo", "demo", {}) as made:
        tracking.describe("**top-1 0.9**")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    note_failure("begun with another configuration")
    tags = client.get_run(made.info.run_id).data.tags
    assert tags[Tag.ERROR] == "begun with another configuration"
    assert tags[Tag.NOTE] == "**top-1 0.9**"


def test_what_a_run_reached_stands_before_what_it_is_of(client, catalog):
    with tracking.record_scores("infer", "infer", {}, catalog) as made:
        tracking.log_facts({}, {"rows": 3.0, "seconds": 1.0})
    names = list(client.get_run(made.info.run_id).data.metrics)
    assert names[:2] == ["rows", "seconds"]
    assert names[2:]
    assert all(name.startswith("data/") for name in names[2:])


def test_two_processes_may_store_the_same_dataset_at_once(client, tmp_path):
    catalog = read_text(tmp_path, "id,title,categories\na,one,x\nb,two,y\n")
    interfered = []

    def store_first(connection, cursor, statement, parameters, *rest):
        """The other process, which comes between MLflow's look for the dataset and its own insertion."""
        if statement.startswith("INSERT INTO datasets") and not interfered:
            interfered.append(statement)
            with mlflow.start_run(nested=True):
                tracking.log_dataset(catalog, "training")

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", store_first)
    try:
        with mlflow.start_run() as run:
            tracking.log_dataset(catalog, "training")
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", store_first)
    assert interfered
    [stored] = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert stored.dataset.digest == catalog.digest()
