"""A labelled table is scored and judged: by `evaluate`, and by `infer` where it has labels.

.venv/bin/python -m pytest tests/entrypoints/test_evaluate.py
"""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

import mmclf
from entrypoints import evaluate, infer, register, stage1
from mmclf.evaluation.intervals import bootstrap
from mmclf.evaluation.probabilities import ProbabilityTable, read_table
from mmclf.records.runs import artifact_path
from tests import stages
from tests.reporting.pages import Page
from tests.stages import Project, kernel_project


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as made:
        yield made


@pytest.fixture(scope="module")
def solved(project):
    """A stage 1 that is registered."""
    figures, _ = stages.call(stage1, *project.train, "--config", str(project.folder / "kernel.yaml"))
    stages.call(register, "--runs", figures["run_id"])
    return project.client.get_run(figures["run_id"])


@pytest.fixture(scope="module")
def labels(shop):
    return pd.read_csv(shop.test_labels_csv, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def labelled(shop, labels) -> pd.DataFrame:
    return pd.read_csv(shop.test_csv, dtype=str, keep_default_na=False).merge(labels, on="id")


@pytest.fixture(scope="module")
def judged(project, solved, shop):
    """Figures, what was said, and the run."""
    figures, said = stages.call(evaluate, *project.test, "--labels", str(shop.test_labels_csv), "--report", "true")
    return figures, said, project.client.get_run(figures["run_id"])


@pytest.fixture(scope="module")
def scored(project, solved, labelled) -> ProbabilityTable:
    """The same rows by `infer`, without labels."""
    figures, _ = stages.call(infer, *project.test)
    found = read_table(artifact_path(project.client.get_run(figures["run_id"]), "probabilities.parquet"))
    return ProbabilityTable(found.ids, found.classes, found.probabilities, None, list(labelled["categories"]))


def test_the_figures_are_those_of_what_infer_scores(judged, scored):
    figures, said, run = judged
    expected = bootstrap(scored)
    top1 = expected["top1"]
    assert [figures[name] for name in ("top1", "top1_low", "top1_high")] == pytest.approx(
        [top1.value, top1.low, top1.high], abs=1e-4
    )
    assert figures["rows"] == figures["judged"] == len(scored)
    metrics = run.data.metrics
    for name, each in expected.items():
        found = [metrics[f"eval/{name}{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx([each.value, each.low, each.high], abs=1e-5)
    assert run.data.tags["stage"] == "evaluate"
    assert run.data.tags["scored_by"] == "the model of all rows of mmclf version 1"
    assert "Top-1 is " in said


def test_what_is_going_to_happen_is_said_before(judged, scored):
    said = judged[1]
    rows = f"evaluate: {len(scored.ids)} rows"
    announced = re.search(rf"^{rows}, 1 pass; .+: (about .+|how long it takes .+)$", said, re.MULTILINE)
    assert announced
    assert announced.start() < said.index(f"{rows} in ")


def test_they_stand_beside_those_out_of_fold(judged, solved):
    figures, said, run = judged
    held_out = solved.data.metrics["cv/oof_top1"]
    assert figures["expected_top1"] == pytest.approx(held_out, abs=1e-4)
    assert run.data.metrics["eval/expected_top1"] == pytest.approx(held_out)
    assert f"was {100 * held_out:.1f}" in said
    assert figures["as_expected"] == ("which the intervals leave to chance" in said)
    assert 0 < run.data.metrics["eval/confidence"] < 1


def test_the_run_has_the_report(judged):
    _, said, run = judged
    assert "warning: the report" not in said
    page = Page(artifact_path(run, "report.html").read_text(encoding="utf-8"))
    assert page.problems == []
    assert page.all("img")
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("Top-1 is ")
    assert f"/runs/{run.info.run_id}/artifacts/report.html" in note
    rows = list(csv.DictReader(io.StringIO(artifact_path(run, "report/drift.csv").read_text(encoding="utf-8"))))
    assert [row["what"] for row in rows] == [
        "mix of the classes", "words of the text (median)", "rows without a text", "rows without a picture",
        "rows with several pictures", "confidence (median)",
    ]  # fmt: skip


def test_infer_judges_a_table_with_labels(project, judged, labelled, tmp_path):
    path = tmp_path / "labelled.csv"
    labelled.to_csv(path, index=False)
    figures, said = stages.call(infer, "--csv", str(path), "--images", str(project.shop.images), "--report", "true")
    names = ("judged", "top1", "top1_high", "top3", "macro_f1", "expected_top1", "as_expected")
    assert {name: figures[name] for name in names} == {name: judged[0][name] for name in names}
    assert "infer: Top-1 is " in said
    run = project.client.get_run(figures["run_id"])
    assert run.data.metrics["eval/top1"] == judged[2].data.metrics["eval/top1"]
    assert Page(artifact_path(run, "report.html").read_text(encoding="utf-8")).problems == []
    assert artifact_path(run, "submission.csv").is_file()


def test_infer_without_labels_judges_nothing(project, solved, labelled, tmp_path):
    path = tmp_path / "a.csv"
    for frame in (labelled.assign(categories=""), labelled.assign(categories="something else")):
        frame.to_csv(path, index=False)
        figures, _ = stages.call(infer, "--csv", str(path), "--images", str(project.shop.images))
        assert "top1" not in figures
        run = project.client.get_run(figures["run_id"])
        assert not any(name.startswith("eval/") for name in run.data.metrics)


def test_labels_that_the_model_does_not_know_are_named_and_count_in_no_figure(project, solved, labelled, scored):
    names = labelled["categories"].tolist()
    names[:4] = ["Moon rocks", "Moon rocks", "", "nan"]
    found = mmclf.evaluate(labelled.assign(categories=names), images=project.shop.images, report=False)
    assert found.figures["judged"] == len(labelled) - 4
    assert found.figures["rows"] == len(labelled) - 2
    assert (found.figures["unknown_rows"], found.figures["unlabelled_rows"]) == (2, 2)
    hits = (scored.probabilities.argmax(axis=1) == scored.targets())[4:]
    assert found.figures["top1"] == pytest.approx(hits.mean(), abs=1e-4)
    note = project.client.get_run(found.run_id).data.tags["mlflow.note.content"]
    assert (
        "No figure counts 2 rows with labels that the model doesn't know: 'Moon rocks' (2) and 2 rows without" in note
    )


def test_rows_of_the_training_are_warned_of(project, solved, shop):
    _, said = stages.call(evaluate, *project.train)
    count = len(pd.read_csv(shop.train_csv))
    assert f"{count} rows have ids of rows that the model was trained on" in said


def test_groups_widen_the_intervals(project, solved, labelled, tmp_path):
    groups = tmp_path / "groups.csv"
    rows = np.arange(len(labelled)) // 6
    pd.DataFrame({"id": labelled["id"], "group": [f"g{row}" for row in rows]}).to_csv(groups, index=False)
    options = {"images": project.shop.images, "report": False}
    alone = mmclf.evaluate(labelled, **options).figures
    grouped = mmclf.evaluate(labelled, overrides={"data.groups_csv": str(groups)}, **options).figures
    assert grouped["top1"] == alone["top1"]
    assert (grouped["top1_low"], grouped["top1_high"]) != (alone["top1_low"], alone["top1_high"])


def test_a_run_is_judged_as_a_version_is(project, solved, labelled):
    """By thresholds that are found then, and where the training's table has gone, without its texts."""
    found = mmclf.evaluate(labelled, images=project.shop.images, model=solved.info.run_id)
    run = project.client.get_run(found.run_id)
    assert artifact_path(run, "report/thresholds.csv").is_file()
    assert found.figures["expected_top1"] == pytest.approx(solved.data.metrics["cv/oof_top1"], abs=1e-4)


def test_what_several_models_reach_out_of_fold_is_not_known(project, solved, labelled):
    figures, said = stages.call(
        evaluate, *project.test, "--labels", str(project.shop.test_labels_csv), "--model",
        f"models:/mmclf/1,{solved.info.run_id}",
    )  # fmt: skip
    assert "note: nothing is known of what several averaged models reach out of fold" in said
    assert "expected_top1" not in figures
    assert f"Of {len(labelled)} labelled rows " in said


@pytest.mark.parametrize("missing", ["oof.parquet", "config.yaml"])
def test_what_is_no_longer_at_hand_is_said(project, solved, labelled, missing, capsys):
    path = artifact_path(solved, missing)
    away = path.rename(path.with_suffix(".away"))
    try:
        figures = mmclf.evaluate(labelled, images=project.shop.images, report=False).figures
    finally:
        away.rename(path)
    said = capsys.readouterr().err
    if missing == "oof.parquet":
        assert "note: what mmclf version 1 reached out of fold isn't at hand: run " in said
        assert "expected_top1" not in figures
    else:
        assert "note: texts and pictures aren't compared with those of the training: run " in said
        assert "expected_top1" in figures
    assert missing in said


def test_a_table_without_usable_labels_is_refused(project, solved, labelled):
    said = stages.call(evaluate, *project.test, fails=True)
    assert "needs the columns 'id' and 'categories'" in said
    with pytest.raises(mmclf.MmclfError, match=r"no label is one of the model's classes \(.*\): its labels are 'Moon'"):
        mmclf.evaluate(labelled.assign(categories="Moon"), images=project.shop.images)
    with pytest.raises(mmclf.MmclfError, match="no row has a label"):
        mmclf.evaluate(labelled.assign(categories=""), images=project.shop.images)


def test_of_many_rows_the_report_shows_some_and_the_figures_count_all(project, judged, labelled, monkeypatch):
    monkeypatch.setattr("mmclf.workflows.judging.MOST_ROWS", 10)
    monkeypatch.setattr("mmclf.scoring.predict.CHUNK_ROWS", 7)
    found = mmclf.evaluate(labelled, images=project.shop.images, overrides={"infer.batch_size": 7})
    names = ("judged", "top1", "top1_low", "loss", "calibration_error")
    assert {name: found.figures[name] for name in names} == pytest.approx(
        {name: judged[0][name] for name in names}, abs=2e-4
    )
    run = project.client.get_run(found.run_id)
    rows = list(csv.DictReader(io.StringIO(artifact_path(run, "report/products.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 10
    given = dict(zip(labelled["id"], labelled["categories"], strict=True))
    assert all(row["given"] == given[row["id"]] for row in rows)


def test_a_single_row_is_judged(project, solved, labelled):
    found = mmclf.evaluate(labelled.iloc[:1], images=project.shop.images)
    assert found.figures["judged"] == 1
    run = project.client.get_run(found.run_id)
    assert Page(artifact_path(run, "report.html").read_text(encoding="utf-8")).problems == []
