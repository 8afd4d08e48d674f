"""Finished runs on the same rows and folds are compared; others are refused.

.venv/bin/python -m pytest tests/entrypoints/test_compare.py
"""

import json

import pandas as pd
import pytest

import mmclf
from entrypoints import compare, ensemble, stage1
from mmclf.evaluation.probabilities import read_table
from mmclf.records.runs import artifact_path
from tests import stages
from tests.reporting.pages import Page
from tests.stages import Project, kernel_project


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as made:
        yield made


def train(project, config, *options):
    return stages.call(stage1, *project.train, "--config", str(project.folder / config), *options)[0]["run_id"]


@pytest.fixture(scope="module")
def trained(project) -> list[str]:
    """A kernel head and an MLP on the same folds."""
    return [train(project, "kernel.yaml"), train(project, "stage1.yaml", "--overrides", "train.folds=2")]


@pytest.fixture(scope="module")
def compared(project, trained):
    figures, said = stages.call(compare, "--runs", ",".join(trained))
    return figures, said, project.client.get_run(figures["run_id"])


def right_by(project, run_id):
    table = read_table(artifact_path(project.client.get_run(run_id), "oof.parquet"))
    return table.probabilities.argmax(axis=1) == table.targets()


def test_the_difference_is_that_of_the_rows(project, trained, compared):
    figures, said, run = compared
    first, other = (right_by(project, run_id) for run_id in trained)
    assert figures["against"] == trained[0]
    assert figures["rows"] == len(first)
    [found] = figures["runs"]
    assert found["run"] == trained[1]
    assert found["top1"] == pytest.approx(other.mean() - first.mean(), abs=1e-4)
    assert (found["mended"], found["broken"]) == ((~first & other).sum(), (first & ~other).sum())
    assert found["low"] <= found["top1"] <= found["high"]
    assert f"mends {found['mended']} rows and breaks {found['broken']}" in said
    assert run.data.tags["stage"] == "compare"
    assert run.data.tags["source_run"] == ",".join(trained)


def test_the_run_has_the_page(trained, compared):
    _, said, run = compared
    page = Page(artifact_path(run, "report.html").read_text(encoding="utf-8"))
    assert page.problems == []
    assert page.all("img")
    assert all(run_id[:12] in page.text for run_id in trained)
    note = run.data.tags["mlflow.note.content"]
    assert f"/runs/{run.info.run_id}/artifacts/report.html" in note
    assert "| A&emsp; | " in note
    assert said.splitlines()[0].split()[:2] == ["run", "top-1"]


def test_the_cost_is_that_of_the_runs(project, trained, compared):
    rows = pd.read_csv(artifact_path(compared[2], "report/cost.csv"))
    for run_id, (_, row) in zip(trained, rows.iterrows(), strict=True):
        metrics = project.client.get_run(run_id).data.metrics
        assert row["seconds"] == pytest.approx(metrics["seconds"], abs=1e-5)
        assert row["encoded"] == metrics["features/computed"]
        assert row["memory, MiB"] > 100


def test_a_fusion_is_compared_with_its_members_and_costs_as_much(project, trained):
    fused = stages.call(ensemble, "--runs", ",".join(trained))[0]["run_id"]
    found = mmclf.compare(runs=[*trained, fused])
    assert [each["run"] for each in found.figures["runs"]] == [trained[1], fused]
    rows = pd.read_csv(artifact_path(project.client.get_run(found.run_id), "report/cost.csv"))
    kept = json.loads(artifact_path(project.client.get_run(fused), "pool.json").read_text())["runs"]
    of = dict(zip(trained, rows["seconds"], strict=False))
    assert rows["seconds"][2] > sum(of[run_id] for run_id in kept)


def test_runs_on_other_folds_are_refused_in_a_sentence(project, trained):
    folds = train(project, "kernel.yaml", "--overrides", "train.seed=7")
    said = stages.call(compare, "--runs", f"{trained[0]},{folds}", fails=True)
    assert f"--runs: run {folds} can't be compared with run {trained[0]}: other folds: those of " in said


def test_runs_of_a_data_frame_are_compared_without_pictures(project, shop, trained):
    table = pd.read_csv(shop.train_csv, dtype=str, keep_default_na=False)
    run = mmclf.stage1(table, images=shop.images, config=project.folder / "kernel.yaml", report=False)
    figures, said = stages.call(compare, "--runs", f"{run.run_id},{trained[0]}")
    assert f"note: the page has no pictures and texts: run {run.run_id} was trained on a data frame" in said
    # which is the same run twice
    assert figures["runs"][0]["verdict"] == "open"
    assert figures["runs"][0]["mended"] == figures["runs"][0]["broken"] == 0
    page = Page(artifact_path(project.client.get_run(figures["run_id"]), "report.html").read_text(encoding="utf-8"))
    assert page.problems == []
    assert not page.all("img")


def test_what_can_not_be_compared_is_said(project, trained, compared):
    assert "--runs: found 1; give 2 to 10 run ids" in stages.call(compare, "--runs", trained[0], fails=True)
    assert "a run is named twice" in stages.call(compare, "--runs", f"{trained[0]},{trained[0]}", fails=True)
    said = stages.call(compare, "--runs", f"{trained[0]},{compared[0]['run_id']}", fails=True)
    assert "is compare; give a run of stage1 or stage2 or fusion" in said
    assert "not in the store" in stages.call(compare, "--runs", f"{trained[0]},nothing", fails=True)
