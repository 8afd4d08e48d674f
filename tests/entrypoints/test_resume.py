"""A killed stage goes on where it was, to the same result, in the same run; anything else starts anew.

.venv/bin/python -m pytest tests/entrypoints/test_resume.py
"""

import os
import shutil
import tempfile

import mlflow
import pytest
from safetensors.torch import load_file

from entrypoints import stage1
from mmclf.records import stages, tracking
from mmclf.records.resuming import sweep_states
from mmclf.records.runs import artifact_path
from mmclf.runtime.process import ProcessName, this_process
from mmclf.store.cache import UNFINISHED, cache_folder
from mmclf.store.scratch import make_scratch, sweep
from tests.stages import call, kernel_project


class GoneError(Exception):
    """The process would be gone."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree):
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as found:
        yield found


@pytest.fixture
def command(project):
    return ["--config", str(project.folder / "stage1.yaml"), *project.train]


@pytest.fixture(scope="module")
def undisturbed(project):
    found, _ = call(stage1, "--config", str(project.folder / "stage1.yaml"), *project.train, "--resume", "never")
    return project.client.get_run(found["run_id"])


def folds_of(client, run_id):
    found = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{run_id}' and tags.role = 'fold'")
    return {int(run.data.tags["fold"]): run for run in found}


def assert_same(client, run_id, other):
    """The same matrix and checkpoints, byte for byte, and each fold trained once."""
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert artifact_path(run, "oof.parquet").read_bytes() == artifact_path(other, "oof.parquet").read_bytes()
    ours, theirs = folds_of(client, run_id), folds_of(client, other.info.run_id)
    assert ours.keys() == theirs.keys()
    for number, fold in ours.items():
        assert fold.info.status == "FINISHED"
        weights, expected = (
            load_file(artifact_path(each, "checkpoint") / "weights.safetensors") for each in (fold, theirs[number])
        )
        assert all((tensor == expected[name]).all() for name, tensor in weights.items())
        epochs = [point.step for point in client.get_metric_history(fold.info.run_id, "val/top1")]
        assert epochs == [1, 2]


def leave_running(client, run_id):
    """As a process that was killed leaves its runs: running, under the number of a process that is gone."""
    process = ProcessName(this_process().host, 2**22 + 1, 1)
    below = [run.info.run_id for run in client.search_runs(["0"], f"tags.mlflow.parentRunId = '{run_id}'")]
    for each in [run_id, *below]:
        if each == run_id or client.get_run(each).info.status != "FINISHED":
            client.update_run(each, status="RUNNING")
            client.delete_tag(each, "error") if "error" in client.get_run(each).data.tags else None
        client.set_tag(each, "process", str(process))


def end_in(monkeypatch, command, place, number=1, error=GoneError):
    """Run the command until the so manieth call of a method; gives the id of its run."""
    owner, name = place
    calls, method = iter(range(1, 100)), getattr(owner, name)

    def killed(*args, **kwargs):
        if next(calls) == number:
            raise error
        return method(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(error):
            stage1.main(command)
    assert mlflow.active_run() is None
    [run] = mlflow.search_runs(["0"], max_results=1, output_format="list", filter_string="tags.role = 'parent'")
    return run.info.run_id


@pytest.mark.parametrize(
    ("place", "number", "finished"),
    [
        ((stages.FoldRecord, "epoch"), 2, 0),
        ((stages.FoldRecord, "finish"), 2, 1),
        ((mlflow, "log_artifacts"), 2, 0),
        ((stages.StageRecord, "finish"), 1, 2),
    ],
)
def test_a_killed_stage_goes_on_in_its_run_to_the_same_result(
    project, command, undisturbed, monkeypatch, place, number, finished
):
    client = project.client
    killed = end_in(monkeypatch, command, place, number)
    leave_running(client, killed)
    before = {n: run.info.run_id for n, run in folds_of(client, killed).items()}
    found, said = call(stage1, *command)
    assert found["run_id"] == killed
    assert "note: marked as killed, since their process is gone: stage1 " in said
    there = f"{finished} folds are there, {2 - finished} left" if finished else "no fold was finished"
    assert f"stage1: goes on with run {killed}, which was interrupted: {there}" in said
    assert_same(client, killed, undisturbed)
    after = {n: run.info.run_id for n, run in folds_of(client, killed).items()}
    assert all(after[n] == run_id for n, run_id in before.items())
    assert not (cache_folder() / UNFINISHED / killed).exists()
    assert "error" not in client.get_run(killed).data.tags


def test_a_finished_run_is_not_touched(project, command, undisturbed):
    before = project.client.get_run(undisturbed.info.run_id)
    found, said = call(stage1, *command)
    assert found["run_id"] != undisturbed.info.run_id
    assert "goes on" not in said
    assert project.client.get_run(undisturbed.info.run_id).to_dictionary() == before.to_dictionary()


def test_another_configuration_starts_anew_and_says_why(project, command, monkeypatch):
    killed = end_in(monkeypatch, command, (stages.FoldRecord, "finish"))
    found, said = call(stage1, *command, "--overrides", "train.seed=43")
    assert found["run_id"] != killed
    assert f"note: run {killed} ended before it was finished (GoneError: )" in said
    assert "since something else is asked for: folds, configuration" in said
    # and what was interrupted can still go on
    again, _ = call(stage1, *command)
    assert again["run_id"] == killed


def test_never_starts_anew(project, command, monkeypatch):
    killed = end_in(monkeypatch, command, (stages.FoldRecord, "finish"))
    found, said = call(stage1, *command, "--resume", "never")
    assert found["run_id"] != killed
    assert "goes on" not in said
    assert call(stage1, *command, "--resume", "please", fails=True).startswith("error: --resume: found 'please'")


def test_a_changed_picture_starts_anew(project, command, monkeypatch, shop):
    killed = end_in(monkeypatch, command, (stages.FoldRecord, "finish"))
    picture = next(iter(sorted(shop.images.iterdir())))
    state = picture.stat()
    os.utime(picture, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    try:
        found, said = call(stage1, *command)
    finally:
        os.utime(picture, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert found["run_id"] != killed
    assert "something else is asked for: pictures" in said


def test_asked_to_end_a_run_is_killed_with_the_reason(project, command, monkeypatch):
    command = [*command, "--resume", "never"]
    for error, code, words in ((KeyboardInterrupt, 130, "interrupted by Ctrl-C"), (SystemExit, None, "SystemExit")):
        with monkeypatch.context() as patch:
            patch.setattr(stages.FoldRecord, "finish", _raises(error))
            if code is None:
                with pytest.raises(SystemExit):
                    stage1.main(command)
            else:
                assert stage1.main(command) == code
        runs = mlflow.search_runs(["0"], max_results=2, output_format="list")
        assert {run.info.status for run in runs} == {"KILLED"}
        assert all(words in run.data.tags["error"] for run in runs)


def _raises(error):
    def method(*args, **kwargs):
        raise error

    return method


def test_a_run_that_another_process_is_at_is_left_alone(project, command, monkeypatch):
    killed = end_in(monkeypatch, command, (stages.FoldRecord, "finish"))
    project.client.update_run(killed, status="RUNNING")
    project.client.set_tag(killed, "process", str(this_process()))
    found, said = call(stage1, *command)
    assert found["run_id"] != killed
    assert f"note: run {killed} does the same right now" in said
    assert project.client.get_run(killed).info.status == "RUNNING"
    project.client.set_terminated(killed, "KILLED")


def test_a_silent_run_of_another_machine_counts_as_dead(project, command, monkeypatch):
    killed = end_in(monkeypatch, command, (stages.FoldRecord, "finish"))
    client = project.client
    client.update_run(killed, status="RUNNING")
    client.set_tag(killed, "process", "elsewhere:1:1")
    client.set_tag(killed, "heartbeat", f"{client.get_run(killed).info.start_time / 1000:.0f}")
    tracking.clean_up(client)
    assert client.get_run(killed).info.status == "RUNNING"
    client.set_tag(killed, "heartbeat", "1000")
    tracking.clean_up(client)
    assert client.get_run(killed).info.status == "KILLED"
    assert "ended without a word" in client.get_run(killed).data.tags["error"]


def test_under_mlflow_run_the_new_run_is_shown_below_the_one_that_goes_on(project, command, monkeypatch):
    killed = end_in(monkeypatch, command, (stages.FoldRecord, "finish"))
    made = project.client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    found, _ = call(stage1, *command)
    assert found["run_id"] == killed
    tags = project.client.get_run(made).data.tags
    assert (tags["mlflow.parentRunId"], tags["role"]) == (killed, "start")
    assert killed in tags["mlflow.note.content"]


def test_folders_of_processes_that_are_gone_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = make_scratch()
    (tmp_path / "mmclf-4194305-1-abcd").mkdir()
    (tmp_path / f"mmclf-{os.getpid()}-1-abcd").mkdir()  # an earlier process of the same number
    (tmp_path / "mmclf-notes").mkdir()
    swept = sweep()
    assert sorted(path.name for path in swept) == sorted(["mmclf-4194305-1-abcd", f"mmclf-{os.getpid()}-1-abcd"])
    assert own.is_dir()
    assert (tmp_path / "mmclf-notes").is_dir()
    shutil.rmtree(own)


def test_states_that_nobody_needs_are_swept(project, undisturbed):
    places = {name: cache_folder() / UNFINISHED / name for name in (undisturbed.info.run_id, "a" * 32, "b" * 32)}
    for place in places.values():
        place.mkdir(parents=True)
    os.utime(places["b" * 32], (0, 0))  # of another store too, and long ago
    sweep_states(project.client)
    assert [name for name, place in places.items() if place.exists()] == ["a" * 32]
    places["a" * 32].rmdir()
