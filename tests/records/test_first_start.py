"""A store is made whole or not at all, whoever starts first; one that MLflow left half made is named.

.venv/bin/python -m pytest tests/records/test_first_start.py
"""

import contextlib
import os
import sqlite3
import threading

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from benchmarks.first_start import try_start
from mmclf.errors import RunError
from mmclf.records import first_start
from mmclf.records.first_start import count_runs, make_store, sqlite_file
from mmclf.records.store import connect, named_experiment
from tests.stores import mlflow_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished store, as bytes: making one takes a second."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    make_store(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def database(tmp_path):
    return tmp_path / "mlflow.db"


def execute(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def half_made(path):
    """What a kill leaves in the middle of MLflow's migrations: a table is there whose revision isn't noted."""
    execute(
        path,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY)",
        "CREATE TABLE metrics (key VARCHAR(250))",
    )


@pytest.mark.parametrize("kill_after", [None, 0.3], ids=["all live", "one killed"])
def test_processes_that_start_at_once_all_succeed(tmp_path, kill_after):
    assert try_start(tmp_path, 6, kill_after) == []


def test_a_store_is_made_with_its_default_experiment_and_nothing_else_beside(database):
    with mlflow_store(database.parent):
        make_store(f"sqlite:///{database}")
        assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]
        assert [e.experiment_id for e in connect().search_experiments()] == ["0"]
        assert connect().get_experiment("0").artifact_location == f"{database.parent}/mlruns/0"


def test_a_store_that_is_there_is_left_alone(database, made, monkeypatch):
    database.write_bytes(made)
    monkeypatch.setattr(first_start, "_fill", lambda uri: pytest.fail("made again"))
    make_store(f"sqlite:///{database}")
    assert database.read_bytes() == made


def test_who_comes_second_uses_what_the_first_one_made(database, made, monkeypatch):
    """Another process, without our lock, is done while we are at it."""

    def fill(uri):
        database.write_bytes(made)

    monkeypatch.setattr(first_start, "_fill", fill)
    make_store(f"sqlite:///{database}")
    assert database.read_bytes() == made
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]


def test_a_disk_without_hard_links_gets_a_store_too(database, made, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(first_start, "_fill", lambda uri: sqlite_file(uri).write_bytes(made))
    make_store(f"sqlite:///{database}")
    assert database.read_bytes() == made


def test_an_error_meanwhile_leaves_nothing_and_the_next_start_succeeds(database, made, monkeypatch):
    def fail(uri):
        sqlite_file(uri).write_bytes(made[: len(made) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(first_start, "_fill", fail)
    with pytest.raises(KeyboardInterrupt):
        make_store(f"sqlite:///{database}")
    assert list(database.parent.iterdir()) == []
    monkeypatch.setattr(first_start, "_fill", lambda uri: sqlite_file(uri).write_bytes(made))
    make_store(f"sqlite:///{database}")
    assert database.read_bytes() == made


def test_what_a_killed_process_left_goes_with_the_next_start(database, made, monkeypatch):
    (database.parent / ".mlflow.db-0123.draft").write_bytes(made[:4096])
    (database.parent / ".mlflow.db-0123.draft-journal").write_bytes(b"")
    monkeypatch.setattr(first_start, "_fill", lambda uri: sqlite_file(uri).write_bytes(made))
    make_store(f"sqlite:///{database}")
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]


def test_an_empty_file_becomes_a_store(database, made, monkeypatch):
    monkeypatch.setattr(first_start, "SETTLED", 0.2)
    monkeypatch.setattr(first_start, "_fill", lambda uri: sqlite_file(uri).write_bytes(made))
    database.touch()
    make_store(f"sqlite:///{database}")
    assert database.read_bytes() == made


def test_a_store_that_another_program_is_making_is_waited_for(database, made, monkeypatch):
    monkeypatch.setattr(first_start, "_fill", lambda uri: pytest.fail("made by two"))
    half_made(database)
    draft = database.with_name("other.db")
    draft.write_bytes(made)
    timer = threading.Timer(0.3, draft.replace, [database])
    timer.start()
    make_store(f"sqlite:///{database}")
    timer.join()
    assert database.read_bytes() == made


def test_a_half_made_store_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(first_start, "SETTLED", 0.2)
    with mlflow_store(tmp_path):
        half_made(tmp_path / "mlflow.db")
        with pytest.raises(RunError, match=r"mlflow\.db: MLflow left it half made.* no run is in it: delete the"):
            connect()


def test_a_half_made_store_with_runs_is_not_to_be_deleted(tmp_path, made):
    """Two commands made it at once: one succeeded and recorded a run, the other took a table away."""
    with mlflow_store(tmp_path):
        (tmp_path / "mlflow.db").write_bytes(made)
        execute(
            tmp_path / "mlflow.db",
            "INSERT INTO runs (run_uuid, experiment_id) VALUES ('a', 0)",
            "UPDATE alembic_version SET version_num = '728d730b5ebd'",
            "DROP TABLE webhooks",
        )
        with pytest.raises(RunError, match=r"mlflow\.db: .*left it half made.* runs in it: 1\. Copy the file, then"):
            connect()
    assert count_runs(tmp_path / "mlflow.db") == 1


def test_a_store_of_another_mlflow_is_named(tmp_path, made):
    with mlflow_store(tmp_path):
        (tmp_path / "mlflow.db").write_bytes(made)
        execute(tmp_path / "mlflow.db", "UPDATE alembic_version SET version_num = 'b7e2c1a4d9f3'")
        with pytest.raises(RunError, match=r"mlflow\.db: its tables are of another version of MLflow"):
            connect()


def test_a_folder_that_cannot_be_made_is_named_at_once(tmp_path):
    (tmp_path / "file").touch()
    with mlflow_store(tmp_path):
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/file/mlflow.db")
        with pytest.raises(RunError, match=rf"{tmp_path}/file: "):
            connect()


def test_only_files_are_made_here(tmp_path):
    assert sqlite_file("sqlite:///mlflow.db").name == "mlflow.db"
    assert sqlite_file(f"sqlite:///{tmp_path}/mlflow.db") == tmp_path / "mlflow.db"
    for other in (
        "sqlite://",
        "sqlite:///:memory:",
        "file:///data/mlruns",
        "http://host:5000",
        "postgresql://u:p@h/db",
    ):
        assert sqlite_file(other) is None


def test_an_experiment_that_two_processes_make_at_once_is_one(tmp_path, made, monkeypatch):
    (tmp_path / "mlflow.db").write_bytes(made)
    with mlflow_store(tmp_path):
        client = connect()
        found = client.get_experiment_by_name
        answers = iter([None])
        monkeypatch.setattr(client, "get_experiment_by_name", lambda name: next(answers, found(name)))
        known = client.create_experiment("shop")  # by the other one, after we have looked
        assert named_experiment(client, "shop") == known
        client.delete_experiment(known)
        with pytest.raises(RunError, match=r"'shop' .* was deleted; bring it back by `mlflow experiments restore"):
            named_experiment(client, "shop")
        with pytest.raises(MlflowException, match="name"):
            named_experiment(client, "")
