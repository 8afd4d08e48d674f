"""A search from its first trial to the configuration that stage 1 takes; cut off, it goes on as if it hadn't been.

.venv/bin/python -m pytest tests/entrypoints/test_tune.py
"""

import importlib.util
import os
import shlex

import pandas as pd
import psutil
import pytest
from PIL import Image

import mmclf
from entrypoints import stage1, tune
from entrypoints.options import parse_duration
from mmclf.config import resolve_config
from mmclf.errors import ConfigError
from mmclf.records.runs import artifact_path
from mmclf.records.tuning import TrialRecord
from mmclf.runtime.process import ProcessName, this_process
from tests import stages
from tests.stages import Project, kernel_project, tree_of

# a rate of 0 learns nothing, so that it loses every fold
GRID = "train.lrs.head: [0.01, 0.0]\nmodel.hidden_dim: [32, 16]"
SPACE = "train.lrs.head: {low: 1e-4, high: 3e-2, log: true}\nmodel.dropout: {low: 0.0, high: 0.5}"


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as made:
        (made.folder / "grid.yaml").write_text(GRID)
        (made.folder / "space.yaml").write_text(SPACE)
        yield made


@pytest.fixture(scope="module")
def call(project):
    """Tune in three folds; gives JSON and what was said, or only that where it fails."""

    def call(*options: str, space: str = "grid.yaml", config: str = "stage1.yaml", fails: bool = False):
        given = ["--config", str(project.folder / config), *(["--space", str(project.folder / space)] if space else [])]
        if "--overrides" not in options:
            given += ["--overrides", "train.folds=3"]
        return stages.call(tune, *project.train, *given, *options, fails=fails)

    return call


@pytest.fixture
def experiment(monkeypatch, request) -> str:
    """An experiment of the test's own, where no earlier search goes on."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    return str(request.node.name)


@pytest.fixture(scope="module")
def searched(project, call) -> tuple[dict, str]:
    return call("--out", str(project.folder / "result"))


def trial_runs(project, run_id: str) -> list:
    experiment = project.client.get_run(run_id).info.experiment_id
    found = project.client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}' and tags.role = 'trial'")
    return sorted(found, key=lambda run: int(run.data.tags["trial"]))


def test_every_trial_is_a_nested_run_with_its_settings_and_folds(project, searched):
    figures, _ = searched
    parent = project.client.get_run(figures["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["stage"] == "tune"
    assert parent.data.params["cfg/train.lrs.head"] == "0.01"
    trials = trial_runs(project, figures["run_id"])
    assert len(trials) == figures["trials"] == 4
    first = trials[0]
    assert first.data.params == {"cfg/train.lrs.head": "0.01", "cfg/model.hidden_dim": "32"}
    for run in trials:
        state, folds = run.data.tags["state"], run.data.tags["folds"]
        for name in ("fold/loss", "fold/top1"):
            history = project.client.get_metric_history(run.info.run_id, name)
            assert ",".join(str(point.step) for point in history) == folds
        assert run.data.tags["fingerprint"] == parent.data.tags["fingerprint"]
        assert ("cv/loss" in run.data.metrics) == (state == "complete")
        assert run.info.status == {"complete": "FINISHED", "pruned": "KILLED"}[state]


def test_settings_that_lose_their_first_folds_are_pruned(project, searched):
    figures, said = searched
    trials = trial_runs(project, figures["run_id"])
    lost = [run for run in trials if run.data.params["cfg/train.lrs.head"] == "0.0"]
    assert {(run.data.tags["state"], run.data.tags["folds"]) for run in lost} == {("pruned", "0,1")}
    assert {run.info.run_name.rpartition(", ")[2] for run in lost} == {"pruned"}
    assert figures["pruned"] == 2
    assert said.count("pruned after 2 folds") == 2


def test_it_ends_with_a_configuration_that_reaches_the_same_in_stage_1(project, searched):
    figures, said = searched
    config = resolve_config(figures["config"])
    parent = project.client.get_run(figures["run_id"])
    assert config == resolve_config(artifact_path(parent, "best-config.yaml"))
    best = trial_runs(project, figures["run_id"])[figures["best_trial"]]
    assert best.data.metrics["cv/loss"] == figures["best"] == parent.data.metrics["cv/loss"]
    assert f"config={figures['config']} -P csv={project.shop.train_csv}" in said
    found, _ = stages.call(stage1, *project.train, "--config", figures["config"])
    run = project.client.get_run(found["run_id"])
    for name in ("cv/loss", "cv/top1_mean", "cv/macro_f1"):
        assert run.data.metrics[name] == pytest.approx(best.data.metrics[name], abs=1e-6)


def test_random_views_stay_as_many_as_were_given(searched):
    assert resolve_config(searched[0]["config"]).train.views == 2  # epochs


def test_it_leaves_tables_and_pictures(project, searched):
    figures, said = searched
    folder = project.folder / "result"
    table = pd.read_csv(folder / "trials.csv")
    assert list(table["trial"]) == [0, 1, 2, 3]
    assert list(table.columns[-2:]) == ["train.lrs.head", "model.hidden_dim"]
    for name in ("history.png", "importance.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 500
    assert artifact_path(project.client.get_run(figures["run_id"]), "importance.png").is_file()
    assert "trial  " in said
    note = project.client.get_run(figures["run_id"]).data.tags["mlflow.note.content"]
    assert "calibration error" in note
    assert "loss on other folds" in note


def test_the_best_is_judged_again_on_other_folds(project, searched):
    metrics = project.client.get_run(searched[0]["run_id"]).data.metrics
    assert metrics["tune/again_best"] == searched[0]["best_again"]
    assert metrics["tune/again_best"] != metrics["cv/loss"]
    assert metrics["tune/given"] == searched[0]["given"]
    assert searched[1].count("on other folds: loss") == 2  # of the two that are complete
    assert metrics["cv/loss"] + metrics["tune/again_best"] <= metrics["tune/given"] + metrics["tune/again_given"]


def settings_and_folds(project, run_id: str) -> list:
    found = []
    for run in trial_runs(project, run_id):
        if run.data.tags["state"] != "interrupted":
            losses = project.client.get_metric_history(run.info.run_id, "fold/loss")
            found.append((run.data.tags["settings"], run.data.tags["state"], [point.value for point in losses]))
    return found


def cut_off(monkeypatch, call, trial: int) -> None:
    """A search whose process is told to end in the second fold of a trial."""
    seen = []

    def fold(self, reached, log=TrialRecord.fold):
        seen.append(self.run_id)
        log(self, reached)
        if len(set(seen)) == trial + 1 and seen.count(self.run_id) == 2:
            raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(TrialRecord, "fold", fold)
        with pytest.raises(SystemExit):
            call("--trials", "6", space="space.yaml")


def test_the_same_command_goes_on_after_a_kill(project, call, experiment, monkeypatch):
    cut_off(monkeypatch, call, trial=3)
    [run] = project.client.search_runs(
        [project.client.get_experiment_by_name(experiment).experiment_id], "tags.role = 'parent'"
    )
    assert run.info.status == "KILLED"
    # as SIGKILL leaves them
    project.client.update_run(run.info.run_id, status="RUNNING")
    project.client.set_tag(run.info.run_id, "process", str(ProcessName(this_process().host, 2**22 + 1, 1)))
    last = trial_runs(project, run.info.run_id)[-1]
    project.client.update_run(last.info.run_id, status="RUNNING")
    project.client.delete_tag(last.info.run_id, "state")

    figures, said = call("--trials", "6", space="space.yaml")
    assert figures["run_id"] == run.info.run_id
    assert f"goes on with run {run.info.run_id} after 3 trials" in said
    assert figures["trials"] == 6
    ended = project.client.get_run(run.info.run_id)
    assert ended.info.status == "FINISHED"
    assert "error" not in ended.data.tags
    left = project.client.get_run(last.info.run_id)
    assert (left.info.status, left.data.tags["state"]) == ("FAILED", "interrupted")
    assert left.info.run_name.startswith("trial 3, interrupted")

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"{experiment}, uninterrupted")
    whole, _ = call("--trials", "6", space="space.yaml")
    assert settings_and_folds(project, figures["run_id"]) == settings_and_folds(project, whole["run_id"])
    for name in ("best", "best_trial", "pruned", "best_again", "given_again"):
        assert figures[name] == whole[name]


def test_more_trials_go_on_and_a_finished_search_starts_anew(project, call, experiment):
    first, _ = call("--trials", "1")
    more, _ = call("--trials", "2")
    again, _ = call("--trials", "2")
    assert more["run_id"] == first["run_id"] != again["run_id"]
    assert (more["trials"], again["trials"]) == (2, 2)


def test_another_space_or_metric_is_another_search(call, experiment):
    runs = [call("--trials", "1", space=space)[0]["run_id"] for space in ("grid.yaml", "space.yaml")]
    runs.append(call("--trials", "2", "--metric", "cv/top1_mean")[0]["run_id"])
    assert len(set(runs)) == 3


def test_the_run_of_a_second_mlflow_run_lies_below_the_search(project, call, experiment, monkeypatch):
    """`mlflow run` makes a run for each start and names it in the environment."""
    number = project.client.create_experiment(experiment)
    made = [project.client.create_run(number).info.run_id for _ in range(2)]
    found = []
    for run_id, trials in zip(made, ("1", "2"), strict=True):
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        found.append(call("--trials", trials)[0]["run_id"])
    assert found == [made[0], made[0]]
    below = project.client.get_run(made[1]).data.tags
    assert (below["role"], below["mlflow.parentRunId"]) == ("start", made[0])
    assert f"Goes on with run {made[0]}" in below["mlflow.note.content"]

    monkeypatch.setenv("MLFLOW_RUN_ID", made[0])
    assert "is of another search" in call("--trials", "1", space="space.yaml", fails=True)


def test_two_processes_at_one_search_are_refused(project, call, experiment):
    figures, _ = call("--trials", "1")
    project.client.update_run(figures["run_id"], status="RUNNING")
    parent = psutil.Process(os.getppid())
    process = ProcessName(this_process().host, parent.pid, int(parent.create_time()))
    project.client.set_tag(figures["run_id"], "process", str(process))
    assert f"process {parent.pid} is at this search" in call("--trials", "2", fails=True)


def test_a_budget_ends_a_search_that_can_go_on(call, experiment):
    short, _ = call("--trials", "3", "--budget", "0.001s")
    assert short["trials"] == 1
    whole, _ = call("--trials", "3")
    assert (whole["run_id"], whole["trials"]) == (short["run_id"], 3)


def test_a_kernel_head_is_tuned_by_its_kernels(project, call):
    (project.folder / "kernels.yaml").write_text("model.kernels: [[words, chars], [words]]")
    figures, said = call("--trials", "9", "--overrides", "", space="kernels.yaml", config="kernel.yaml")
    assert figures["trials"] == 2
    assert "the space has only these 2 points" in said
    assert "lies outside the space" in said
    assert figures["given"] is None
    assert resolve_config(figures["config"]).model.kernels in (["words", "chars"], ["words"])


def test_settings_that_diverge_are_a_failed_trial(project, call, experiment):
    (project.folder / "hot.yaml").write_text("train.lrs.head: [0.01, 1e38]")
    figures, said = call("--trials", "2", space="hot.yaml")
    assert figures["best_trial"] == 0
    failed = trial_runs(project, figures["run_id"])[1]
    assert failed.data.tags["state"] == "failed"
    assert failed.info.status == "FAILED"
    assert "the training loss is" in failed.data.tags["error"]
    assert "failed: fold 0, epoch 1" in said
    more, _ = call("--trials", "3", space="hot.yaml")
    assert (more["run_id"], more["trials"]) == (figures["run_id"], 2)  # the space has no third point


def test_given_folds_are_not_judged_by_others(project, shop, tree, experiment):
    frame = pd.read_csv(shop.train_csv, dtype=str, keep_default_na=False)
    frame["fold"] = frame.groupby("categories").cumcount() % 2
    space = project.folder / "grid.yaml"
    run = mmclf.tune(frame, images=shop.images, config=tree_of("stage1", tree), space=space, trials=1)
    assert run.figures["best_again"] is None
    assert run.config.train.lrs.head == 0.01
    assert list(run.trials["state"]) == ["complete"]


def test_without_optuna_it_says_what_to_install(call, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else there(name, *rest)
    )
    assert "needs the package optuna, which isn't installed here: pip install" in call(fails=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--overrides", "model.clip_trainable=true"], "tune tries heads on stored features"),
        (["--overrides", "train.patch_dropout=0.5"], "train.patch_dropout: found 0.5"),
        (["--metric", "accuracy"], "--metric: found 'accuracy'; give cv/loss or cv/top1_mean"),
        (["--trials", "none"], "--trials: found 'none'"),
        (["--budget", "10"], "--budget: found '10'; give a time such as 90s, 10m or 2h"),
        (["--space", "nowhere.yaml"], "--space: nowhere.yaml: no such file"),
    ],
)
def test_mistakes_are_named(call, options, said):
    assert said in call(*options, space="", fails=True)


def test_times_are_read():
    assert [parse_duration("budget", text) for text in ("", "90s", "1.5m", " 2h ")] == [None, 90, 90, 7200]
    for text in ("10", "m", "-3s", "0s", "infm", "3d"):
        with pytest.raises(ConfigError, match="--budget"):
            parse_duration("budget", text)


def test_the_printed_command_is_one_that_mlflow_takes(searched):
    [line] = [line for line in searched[1].splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words[:5] == ["mlflow", "run", ".", "-e", "stage1"]
    assert {word.split("=")[0] for word in words if "=" in word} == {"config", "csv", "images"}
