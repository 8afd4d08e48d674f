"""A failing store is named, whichever call of MLflow fails; a slip of the program keeps its traceback.

.venv/bin/python -m pytest tests/records/test_store_errors.py
"""

import errno
import itertools
import shutil
import sqlite3
import threading

import mlflow
import pytest
import requests
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

from entrypoints import ensemble, register, stage1, stage2
from mmclf.errors import RegistryError, RunError
from mmclf.records import registry
from mmclf.records.runs import get_run
from mmclf.records.store import connect
from mmclf.records.store_errors import explain, store_name, without_passwords
from tests.stages import Project, call
from tests.stores import mlflow_store


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    folder = tmp_path_factory.mktemp("project")
    with mlflow_store(folder):
        yield Project(folder, shop, tree)


def of_sqlite(text, kind=sqlite3.OperationalError):
    """As MLflow wraps what SQLAlchemy wraps."""
    inner = kind(text)
    wrapped = getattr(sqlalchemy.exc, kind.__name__)("INSERT INTO runs", {}, inner)
    wrapped.__cause__ = inner
    outer = MlflowException(wrapped, codes.TEMPORARILY_UNAVAILABLE)
    outer.__cause__ = wrapped
    return outer


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (of_sqlite("database or disk is full"), "no space left; make room"),
        (of_sqlite("attempt to write a readonly database"), "can't be written"),
        (of_sqlite("disk I/O error"), "its disk fails to read or write"),
        (of_sqlite("unable to open database file"), "can't be opened"),
        (of_sqlite("database is locked"), "another process has held it for too long"),
        (of_sqlite("database disk image is malformed", sqlite3.DatabaseError), "is damaged"),
        (of_sqlite("no such table: runs"), "MLflow left it half made"),
        (MlflowException("the server is on fire"), "the server is on fire; check MLFLOW_TRACKING_URI"),
        (MlflowException("no", codes.PERMISSION_DENIED), "no; check"),
        (requests.ConnectionError("to http://me:secret@host refused"), "to http://host refused; check"),
        (caused(MlflowException("failed"), requests.ConnectionError("refused")), "failed; check"),
    ],
)
def test_a_failure_of_the_store_is_a_sentence(tmp_path, error, said):
    with mlflow_store(tmp_path):
        found = explain(error)
    assert found.startswith(f"MLflow: the store sqlite:///{tmp_path}/mlflow.db: ")
    assert said in found
    assert "secret" not in found


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("no such parameter", codes.INVALID_PARAMETER_VALUE),
        MlflowException("twice", codes.RESOURCE_ALREADY_EXISTS),
        caused(MlflowException("NoneType has no attribute"), AttributeError("NoneType has no attribute")),
        of_sqlite("UNIQUE constraint failed", sqlite3.IntegrityError),
        TypeError("unsupported operand"),
        AssertionError(),
    ],
    ids=repr,
)
def test_a_slip_of_the_program_is_none(tmp_path, error):
    with mlflow_store(tmp_path):
        assert explain(error) is None


def test_what_the_disk_did_comes_first(tmp_path):
    with mlflow_store(tmp_path):
        said = explain(caused(MlflowException("can't write"), OSError(28, "No space left on device", "/full/file")))
    assert said.startswith("/full/file: no space left")


def test_an_address_is_shown_without_its_password():
    assert without_passwords("at postgresql://me:se@cret@host/db?x=1 and http://h/a@b") == (
        "at postgresql://host/db?x=1 and http://h/a@b"
    )
    assert store_name("http://me:secret@host:5000") == "http://host:5000"
    assert store_name("sqlite:////a/mlflow.db") == "sqlite:////a/mlflow.db"


def test_a_failing_store_does_not_pass_for_one_without_the_thing(project, monkeypatch):
    client = connect()
    with pytest.raises(RunError, match=rf"run 'a': not in the store sqlite:///{project.folder}/mlflow\.db"):
        get_run(client, "a")
    with pytest.raises(RegistryError, match=rf"not in the registry of sqlite:///{project.folder}/mlflow\.db"):
        registry.open_model(client, "models:/mmclf/7")
    assert registry.find_alias(client, "mmclf", "champion") is None

    def fail(*_):
        raise of_sqlite("disk I/O error")

    for name in ("get_run", "get_model_version", "get_model_version_by_alias"):
        monkeypatch.setattr(MlflowClient, name, fail)
    for work in (
        lambda: get_run(client, "a"),
        lambda: registry.open_model(client, "models:/mmclf/7"),
        lambda: registry.find_alias(client, "mmclf", "champion"),
    ):
        with pytest.raises(MlflowException, match="disk I/O error"):
            work()


FAULTS = [
    lambda: MlflowException("the store is gone"),
    lambda: requests.ConnectionError("refused"),
    lambda: of_sqlite("database or disk is full"),
]
# what a stage asks of the store
CALLS = ("create_run", "get_run", "update_run_info", "log_batch", "log_inputs", "set_tag", "search_runs")


class Faults:
    """Counts the calls of MLflow's store, and lets one of them fail, or all from one on as a full disk does."""

    def __init__(self, monkeypatch) -> None:
        self.calls, self.fails_at, self.lasting, self.fault = 0, None, False, FAULTS[0]
        for name in CALLS:
            monkeypatch.setattr(SqlAlchemyStore, name, self._counted(getattr(SqlAlchemyStore, name)))

    def _counted(self, method):
        def run(store, *given, **named):
            if threading.current_thread() is threading.main_thread():  # not the one that watches the machine
                self.calls += 1
                if self.fails_at is not None and (
                    self.calls == self.fails_at or (self.lasting and self.calls > self.fails_at)
                ):
                    raise self.fault()
            return method(store, *given, **named)

        return run


@pytest.mark.parametrize("lasting", [False, True], ids=["one call", "from one call on"])
def test_whichever_call_fails_the_command_ends_in_a_sentence(project, monkeypatch, lasting):
    options = [*project.train, *project.command("stage1", "--overrides", "train.epochs=1", "--fold", "0")]
    faults = Faults(monkeypatch)
    reached, _ = call(stage1, *options)
    needed = faults.calls
    assert needed > 15
    said = []
    for n, fault in zip(range(1, needed + 1, max(needed // 5, 1)), itertools.cycle(FAULTS), strict=False):
        faults.calls, faults.fails_at, faults.fault, faults.lasting = 0, n, fault, lasting
        said.append(call(stage1, *options, fails=True))
        assert mlflow.active_run() is None
    assert all(text.count("error: ") == 1 for text in said)
    assert all("the store sqlite" in text for text in said)
    faults.fails_at = None
    again, _ = call(stage1, *options)
    assert again["top1"] == reached["top1"]


def test_why_a_run_failed_is_said_though_the_store_fails_too(project, monkeypatch, tmp_path):
    """The run can't be closed, which would hide why it had to be."""

    update = SqlAlchemyStore.update_run_info

    def full(store, run_id, run_status, end_time, run_name):
        if end_time is not None:
            raise of_sqlite("database or disk is full")
        return update(store, run_id, run_status, end_time, run_name)

    monkeypatch.setattr(SqlAlchemyStore, "update_run_info", full)
    images = shutil.copytree(project.shop.images, tmp_path / "images")
    [first, *_] = sorted(images.glob("*_1.*"))
    first.write_bytes(b"not a picture")
    options = ["--csv", str(project.shop.train_csv), "--images", str(images)]
    said = call(stage1, *options, *project.command("stage1", "--overrides", "data.on_bad_image=error"), fails=True)
    assert f"error: unreadable picture {first.name}" in said
    assert "\nand then: MLflow: the store" in said


def test_a_model_that_is_not_whole_leaves_nothing(project, monkeypatch):
    call(stage1, *project.train, *project.command("stage1", "--overrides", "train.epochs=1"))
    whole = LocalArtifactRepository.log_artifacts

    def full(repository, folder, path=None):
        whole(repository, folder, path)
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with monkeypatch.context() as patched:
        patched.setattr(LocalArtifactRepository, "log_artifacts", full)
        assert "no space left" in call(register, fails=True)
    models = project.folder / "mlruns" / "0" / "models"
    assert models.is_dir()
    assert not [path for path in models.rglob("*") if path.is_file()]
    assert not connect().search_logged_models(["0"])
    call(register)
    assert len(list(models.rglob("MLmodel"))) == 1


def test_a_slip_keeps_its_traceback(project, monkeypatch):
    monkeypatch.setattr("mmclf.records.starting_point.find_candidates", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stage2.main(project.command("stage2"))
    monkeypatch.setattr("mmclf.records.sources.find_scored", lambda *_: {}["a"])
    with pytest.raises(KeyError):
        ensemble.main([])
