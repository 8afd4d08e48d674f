"""The one command: from a table to a registered model.

.venv/bin/python -m pytest tests/entrypoints/test_fit.py
"""

import shutil
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest

import mmclf
from entrypoints import batch, fit, infer
from mmclf.data.catalog import match_pictures
from mmclf.evaluation.probabilities import read_table
from mmclf.records.fusion import read_pool
from mmclf.records.runs import artifact_path
from mmclf.workflows import plan
from tests.reporting.pages import Page
from tests.serving import matrix
from tests.stages import Project, call
from tests.stores import mlflow_store


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    folder = tmp_path_factory.mktemp("project")
    with mlflow_store(folder):
        yield Project(folder, shop, tree)


@pytest.fixture(scope="module")
def shared(tree) -> str:
    """What the tiny CLIP needs."""
    data = " ".join(f"data.{key}={value}" for key, value in tree["data"].items())
    return f"model.name={tree['model']['name']} train.folds=2 {data}"


@pytest.fixture(scope="module")
def fitted(project, shared) -> tuple[dict, str]:
    return call(fit, *project.train, "--overrides", shared, "--report", "true")


@pytest.fixture(scope="module")
def runs(project, fitted) -> list:
    """All of the store, the oldest first."""
    return mlflow.search_runs(search_all_experiments=True, output_format="list", order_by=["start_time ASC"])


def test_an_estimate_trains_and_records_nothing(project, shared):
    figures, said = call(fit, *project.train, "--overrides", shared, "--estimate", "true")
    assert set(figures) == {"rows", "seconds", "memory_gib", "cache_gib", "store_gib"}
    assert (figures["rows"], figures["seconds"] > 0) == (168, True)
    assert "kernel head " in said
    assert "memory about " in said
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []


def test_it_ends_with_a_registered_champion(project, fitted):
    figures, said = fitted
    assert figures["model"] == "models:/mmclf/1"
    assert (figures["verdict"], figures["members"]) == ("champion", 3)
    best = project.client.get_run(figures["run_id"])
    assert best.data.tags["stage"] == "fusion"
    assert best.data.metrics["cv/top1_mean"] == pytest.approx(figures["value"], abs=1e-4)
    assert "next: mlflow run . -e infer" in said


def test_an_image_can_be_made_of_it(fitted, tmp_path):
    """The folder that `docker build` takes; building needs a network."""
    command = [sys.executable, "-m", "mlflow", "models", "generate-dockerfile", "-m", fitted[0]["model"]]
    command += ["-d", str(tmp_path / "image"), "--env-manager", "virtualenv"]
    subprocess.run(command, check=True, capture_output=True)
    dockerfile = (tmp_path / "image" / "Dockerfile").read_text()
    assert "COPY model_dir" in dockerfile
    inside = {path.name for path in (tmp_path / "image" / "model_dir").iterdir()}
    assert {"MLmodel", "requirements.txt", "code", "artifacts"} <= inside


def test_an_estimate_of_batch_scores_nothing(project, fitted, tmp_path):
    options = ["--model", fitted[0]["model"], "--out", str(tmp_path / "out"), "--estimate", "true"]
    figures, said = call(batch, "--data", str(project.shop.test_csv), *options)
    rows = pd.read_csv(project.shop.test_csv, dtype=str)
    assert (figures["rows"], figures["memory_gib"] > 1) == (len(rows), True)
    assert "hours of a core" in said
    pd.concat([rows] * 50).to_parquet(tmp_path / "many.parquet")
    many, _ = call(batch, "--data", str(tmp_path / "many.parquet"), *options)
    assert many["rows"] == 50 * len(rows)
    assert many["seconds"] >= figures["seconds"]
    assert not (tmp_path / "out").exists()
    said = call(batch, "--data", "s3://shop/products.parquet", *options, fails=True)
    assert "an estimate needs a table on this machine" in said
    (tmp_path / "no.parquet").write_text("no")
    assert "can't be read as parquet" in call(batch, "--data", str(tmp_path / "no.parquet"), *options, fails=True)


def test_it_says_what_it_will_do_and_how_long_it_takes_before_it_does(fitted):
    said = fitted[1].splitlines()
    plan_starts = next(i for i, line in enumerate(said) if line.startswith("step "))
    training_starts = next(i for i, line in enumerate(said) if line.startswith("stage1 fold"))
    assert plan_starts < training_starts
    names = [line.split("  ")[0] for line in said[plan_starts + 1 : plan_starts + 7]]
    assert names == ["features", "zero-shot head", "kernel head", "MLP head", "fine-tuning", "together"]
    assert "left out: there is no GPU" in said[plan_starts + 5] or "there is a GPU" in said[plan_starts + 5]
    assert any("no GPU" in line or "GiB" in line for line in said[:plan_starts])


def test_it_says_what_each_member_reached_and_what_the_fusion_adds(fitted):
    said = fitted[1]
    for line in ("member ", "kernel head", "MLP head", "together "):
        assert f"\n{line}" in said
    assert "head alone: " in said
    assert "paired bootstrap" in said


def test_the_stages_are_runs_below_its_own(fitted, runs):
    (parent,) = [run for run in runs if run.data.tags.get("stage") == "fit"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert [run.data.tags["stage"] for run in children] == ["stage1", "stage1", "stage1", "fusion", "register"]
    assert all(run.info.status == "FINISHED" for run in runs)
    note = parent.data.tags["mlflow.note.content"]
    assert "**models:/mmclf/1**" in note
    assert "| kernel head&emsp; |" in note
    assert parent.data.metrics["seconds"] > 0
    assert parent.data.metrics["estimated_seconds"] > 0
    best = next(run for run in runs if run.info.run_id == fitted[0]["run_id"])
    for figure in ("cv/top1_mean", "cv/top1_std", "cv/top3_mean", "cv/macro_f1"):  # the columns of the table of runs
        assert parent.data.metrics[figure] == best.data.metrics[figure]
    assert parent.inputs.dataset_inputs
    assert f" · {fitted[0]['value']:.3f} · version 1 · champion" in parent.info.run_name
    heads = {run.data.params["cfg/model.head"]: run for run in children if run.data.tags["stage"] == "stage1"}
    assert set(heads) == {"zero-shot", "kernel", "mlp"}
    assert heads["zero-shot"].data.params["cfg/model.sides"] == "['text']"  # its towers weren't trained on pairs
    assert heads["mlp"].data.params["cfg/train.batch_size"] == "32"
    assert {run.data.params["cfg/data.multi_image_mode"] for run in heads.values()} == {"mean_pool"}


def test_the_fusion_alone_has_a_report(project, fitted, runs):
    have = {
        run.info.run_id
        for run in runs
        if "report.html" in {artifact.path for artifact in project.client.list_artifacts(run.info.run_id)}
    }
    (fusion,) = [run for run in runs if run.data.tags.get("stage") == "fusion"]
    assert have == {fusion.info.run_id}
    page = Page(artifact_path(fusion, "report.html").read_text(encoding="utf-8"))
    assert page.problems == []
    assert page.all("img")
    (parent,) = [run for run in runs if run.data.tags.get("stage") == "fit"]
    address = f"runs/{fusion.info.run_id}/artifacts/report.html), among the artifacts of the fusion"
    assert address in parent.data.tags["mlflow.note.content"]


def test_the_fusion_is_of_its_members(fitted, runs):
    (fusion,) = [run for run in runs if run.data.tags.get("stage") == "fusion"]
    pool = read_pool(fusion)
    members = {run.info.run_id for run in runs if run.data.tags.get("stage") == "stage1"}
    assert set(pool.runs) <= members


def test_what_is_registered_scores(project, fitted, shop):
    figures, _ = call(infer, *project.test)
    table = read_table(artifact_path(project.client.get_run(figures["run_id"]), "probabilities.parquet"))
    model = mmclf.load("models:/mmclf@champion")
    frame = pd.read_csv(shop.test_csv, dtype=str, keep_default_na=False)
    names = match_pictures(shop.images, list(frame["id"]))
    frame["image"] = [[(shop.images / name).read_bytes() for name in found] or None for found in names]
    found = matrix(model.predict(frame, top_k=len(model.classes)), model.classes)
    np.testing.assert_allclose(found, table.probabilities, atol=1e-5)


def test_a_budget_with_room_fine_tunes_too(project, shared):
    """From Python, from a data frame."""
    frame = pd.read_csv(project.shop.train_csv, dtype=str, keep_default_na=False)
    found = mmclf.fit(frame, images=project.shop.images, overrides=shared, budget=7200, name="tuned")
    assert found.figures["members"] == 4
    assert found.model == "models:/tuned/1"


@pytest.mark.parametrize("when", ["planned", "begun"])
def test_a_budget_is_kept(project, shared, monkeypatch, when):
    """Whether it is seen beforehand, or only when the heads took longer than they should."""
    if when == "begun":
        monkeypatch.setattr(plan, "fine_tuning_step", lambda *_: plan.Step(plan.FINE_TUNING, "x.yaml", {}, 1e6, "why"))
    budget = "90s" if when == "begun" else "1s"
    figures, said = call(fit, *project.train, "--overrides", shared, "--budget", budget, "--name", when)
    assert figures["members"] == 3
    assert ("fine-tuning is left out: about" if when == "begun" else "more than the budget leaves") in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "soon"], "--budget: found 'soon'; give a time such as 90s, 10m or 2h"),
        (["--overrides", "train.epochs=3"], "overrides: train.epochs: fit decides this itself"),
        (["--overrides", "data.label_col=kind"], "'kind'"),
    ],
)
def test_mistakes_are_sentences_and_leave_no_run(project, options, said):
    before = len(mlflow.search_runs(search_all_experiments=True, output_format="list"))
    assert said in call(fit, *project.train, *options, fails=True)
    assert len(mlflow.search_runs(search_all_experiments=True, output_format="list")) == before


def test_it_is_failed_with_the_reason_where_a_step_fails(project, shared):
    pictures = project.folder / "broken"
    shutil.copytree(project.shop.images, pictures)
    min(pictures.iterdir()).write_bytes(b"no picture")
    options = ["--csv", str(project.shop.train_csv), "--images", str(pictures)]
    said = call(fit, *options, "--overrides", f"{shared} data.on_bad_image=error", "--name", "broken", fails=True)
    assert "data.on_bad_image" in said
    newest = mlflow.search_runs(
        search_all_experiments=True,
        output_format="list",
        filter_string="attributes.status = 'FAILED' and tags.stage = 'fit'",
    )[0]
    assert "PictureError" in newest.data.tags["error"]


def test_a_champion_of_other_rows_stays_unless_forced(project, shared, fitted):
    """As when a month's products are added: nothing that was trained is lost."""
    rows = pd.read_csv(project.shop.train_csv, dtype=str, keep_default_na=False).iloc[:-5]
    less = project.folder / "less.csv"
    rows.to_csv(less, index=False)
    options = ["--csv", str(less), "--images", str(project.shop.images), "--overrides", shared]
    figures, said = call(fit, *options)
    assert figures["verdict"] == "registered without alias"
    assert "stays champion (--force true overrules): it was trained on other data or folds" in said
    assert f"-P model={figures['model']}" in said
    assert str(project.client.get_model_version_by_alias("mmclf", "champion").version) == "1"
    figures, _ = call(fit, *options, "--force", "true")
    assert figures["verdict"] == "champion"
