"""The report as a run has it: an artifact that opens in the UI, named by the description and the model card.

.venv/bin/python -m pytest tests/entrypoints/test_report.py
"""

import csv
import io

import pandas as pd
import pytest

import mmclf
from entrypoints import ensemble, register, stage1, stage2
from mmclf.evaluation.probabilities import align, read_table
from mmclf.records.fusion import read_pool
from mmclf.records.runs import artifact_path, read_left_out
from tests import stages
from tests.reporting.pages import Page
from tests.stages import Project, kernel_project


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as made:
        yield made


@pytest.fixture(scope="module")
def solved(project):
    return project.client.get_run(run_stage1(project, "kernel.yaml")[0]["run_id"])


@pytest.fixture(scope="module")
def stepped(project):
    return project.client.get_run(run_stage1(project, "stage1.yaml", "--overrides", "train.folds=2")[0]["run_id"])


@pytest.fixture(scope="module")
def fused(project, solved, stepped):
    runs = f"{solved.info.run_id},{stepped.info.run_id}"
    return project.client.get_run(stages.call(ensemble, "--runs", runs, "--report", "true")[0]["run_id"])


def run_stage1(project, config, *options):
    options = options if "--report" in options else (*options, "--report", "true")
    return stages.call(stage1, *project.train, "--config", str(project.folder / config), *options)


def page_of(run) -> Page:
    return Page(artifact_path(run, "report.html").read_text(encoding="utf-8"))


def table_of(run, name):
    text = artifact_path(run, f"report/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def names_of(project, run):
    return {artifact.path for artifact in project.client.list_artifacts(run.info.run_id)}


def test_a_stage_run_has_one_with_its_products(project, solved, catalog):
    page = page_of(solved)
    assert page.problems == []
    assert solved.info.run_name in page.text
    assert catalog.short_name in page.text
    assert page.all("img")
    table = read_left_out(project.client, solved)
    assert table.ids == read_table(artifact_path(solved, "oof.parquet")).ids == list(catalog.ids)
    assert table.labels == list(catalog.labels)
    doubted = table_of(solved, "label_issues.csv")
    assert len(doubted) == (table.probabilities.argmax(axis=1) != table.targets()).sum()
    for row in doubted:
        given = table.probabilities[table.ids.index(row["id"]), table.classes.index(row["given_label"])]
        assert float(row["given_probability"]) == pytest.approx(given, abs=1e-6)
    assert artifact_path(solved, "report/confusion-matrix.png").stat().st_size > 1000


def test_the_description_has_the_result_then_the_way_to_it_and_what_comes_next(solved):
    first, second, third, gap, header, *_ = solved.data.tags["mlflow.note.content"].splitlines()
    assert first.startswith(f"**top-1 {solved.data.metrics['cv/top1_mean']:.4f} ± ")
    place = f"#/experiments/{solved.info.experiment_id}/runs/{solved.info.run_id}/artifacts/report.html"
    assert second.rstrip() == f"Report: [report.html]({place}), among the artifacts"
    assert third == f"Next: `mlflow run . -e register --env-manager local -P runs={solved.info.run_id}`"
    assert not gap
    assert header.startswith("| fold")


def test_a_kernel_head_is_asked_without_pictures_and_without_texts(solved, catalog):
    rows = {(row["what"], row["which"]): row for row in table_of(solved, "modalities.csv")}
    both = sum(bool(p) and bool(t) for p, t in zip(catalog.rows.pictures, catalog.rows.texts, strict=True))
    assert int(rows["judged by", "picture and text"]["products"]) == both
    decided = [int(row["products"]) for (what, _), row in rows.items() if what == "decided by"]
    assert sum(decided) == both
    # the drawn shop's texts name the class, and its pictures' shapes tell it, whatever a random tower makes of them
    alone = [float(rows["judged by", name]["right"]) for name in (
        "the text alone, the picture taken away", "the picture alone, the text taken away"
    )]  # fmt: skip
    most_frequent = max(map(list(catalog.labels).count, catalog.classes)) / len(catalog)
    assert min(alone) > most_frequent + 0.1


def test_an_mlp_shows_its_curves(project, stepped):
    page = page_of(stepped)
    assert page.problems == []
    assert "What a picture and a text contribute" in page.text
    assert "It isn't known of this run" in page.text
    assert [row["best epoch"][-4:] for row in table_of(stepped, "folds.csv")] == ["of 2", "of 2"]
    assert artifact_path(stepped, "report/learning-curves.png").is_file()


def test_a_fine_tuned_run_has_one_too(project, stepped, catalog):
    options = ["--overrides", "train.folds=2 train.epochs=1", "--stage1-run", stepped.info.run_id, "--report", "true"]
    figures, said = stages.call(stage2, *project.command("stage2", *options))
    assert "warning: the report" not in said
    run = project.client.get_run(figures["run_id"])
    page = page_of(run)
    assert page.problems == []
    assert page.all("img")
    kinds = {row["kind"] for row in table_of(run, "slices.csv")}
    assert ("text longer than is read" in kinds) == (0 < run.data.metrics["data/truncated_texts"] < len(catalog))


def test_a_fusion_shows_its_members_and_reads_the_products_again(fused, solved):
    page = page_of(fused)
    assert page.problems == []
    assert page.all("img")
    members = [row["member"] for row in table_of(fused, "members.csv")]
    assert members[0] == f"stage1, kernel head, {solved.info.run_id[:12]}"
    assert members[-1] == "together"


def test_a_fusion_judges_labels_by_its_members_models_of_all_other_rows(project, fused, solved, stepped):
    pool = read_pool(fused)
    judged = {solved.info.run_id: read_left_out(project.client, solved)}
    judged[stepped.info.run_id] = read_table(artifact_path(stepped, "oof.parquet"))
    first = judged[pool.runs[0]]
    found = pool.pool.combine([align(judged[run_id], first).probabilities for run_id in pool.runs])
    doubted = table_of(fused, "label_issues.csv")
    assert len(doubted) == (found.argmax(axis=1) != first.targets()).sum() > 0
    for row in doubted:
        given = found[first.ids.index(row["id"]), first.classes.index(row["given_label"])]
        assert float(row["given_probability"]) == pytest.approx(given, abs=1e-6)


def test_a_fusion_of_products_that_changed_has_no_pictures(project, solved, tmp_path):
    frame = pd.read_csv(project.shop.train_csv, dtype=str, keep_default_na=False)
    path = tmp_path / "other.csv"
    frame.to_csv(path, index=False)
    config = project.folder / "kernel.yaml"
    run = mmclf.stage1(path, images=project.shop.images, config=config, report=False)
    frame.iloc[1:].to_csv(path, index=False)
    figures, said = stages.call(ensemble, "--runs", run.run_id, "--report", "true")
    assert "has changed since the run" in said
    page = page_of(project.client.get_run(figures["run_id"]))
    assert page.problems == []
    assert not page.all("img")
    path.unlink()
    assert "no such file" in stages.call(ensemble, "--runs", run.run_id, "--report", "true")[1]


def test_it_can_be_left_out(project):
    figures, _ = run_stage1(project, "kernel.yaml", "--report", "false", "--fold", "0")
    run = project.client.get_run(figures["run_id"])
    assert names_of(project, run) == {"config.yaml", "oof.parquet"}
    assert "report" not in run.data.tags["mlflow.note.content"]
    error = stages.call(stage1, *project.train, "--report", "no", fails=True)
    assert "--report: found 'no'; give `true` or `false`" in error


def test_a_single_fold_has_one_of_its_rows(project, solved):
    figures, _ = run_stage1(project, "kernel.yaml", "--fold", "1")
    run = project.client.get_run(figures["run_id"])
    page = page_of(run)
    assert page.problems == []
    assert "Scaling can't be judged" in page.text
    assert [row["fold"] for row in table_of(run, "folds.csv")] == ["1"]


def test_what_goes_wrong_with_it_takes_no_run_along(project, monkeypatch):
    def break_down(evidence):
        raise ValueError("a bug")

    monkeypatch.setattr("mmclf.reporting.report.make_report", break_down)
    figures, said = run_stage1(project, "kernel.yaml", "--fold", "0")
    assert "warning: the report couldn't be made (ValueError: a bug); the run is complete without it" in said
    run = project.client.get_run(figures["run_id"])
    assert run.info.status == "FINISHED"
    assert "seconds" in run.data.metrics


def test_the_model_card_leads_to_it(project, solved):
    figures, _ = stages.call(register, "--runs", solved.info.run_id, "--name", "reported")
    [version] = project.client.search_model_versions("name = 'reported'")
    assert f"`{solved.info.run_id}`, its [report](#/experiments/" in version.description
    assert str(version.version) == str(figures["version"])
