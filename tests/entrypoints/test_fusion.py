"""Stage runs on the same folds become one model: fused, registered, packed, and served.

.venv/bin/python -m pytest tests/entrypoints/test_fusion.py
"""

import json
from itertools import compress

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

import mmclf
from entrypoints import ensemble, infer, register, stage1, stage2
from mmclf.data.catalog import match_pictures
from mmclf.errors import RowError
from mmclf.evaluation.pool import fit_pool, pool_out_of_fold
from mmclf.evaluation.probabilities import read_table
from mmclf.records.fusion import read_pool
from mmclf.records.runs import artifact_path
from tests import stages
from tests.serving import matrix
from tests.stages import Project, kernel_project

ENTRY_POINTS = {"stage1": stage1, "stage2": stage2, "ensemble": ensemble, "register": register, "infer": infer}


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as made:
        yield made


@pytest.fixture(scope="module")
def call(project):
    """Run an entry point by its name."""
    return lambda name, *options, fails=False: stages.call(ENTRY_POINTS[name], *options, fails=fails)


@pytest.fixture(scope="module")
def members(project, call) -> list[str]:
    """A kernel head, an MLP and fine-tuned towers."""
    two = ["--overrides", "train.folds=2"]
    solved = call("stage1", *project.train, "--config", str(project.folder / "kernel.yaml"))[0]["run_id"]
    stepped = call("stage1", *project.train, "--config", str(project.folder / "stage1.yaml"), *two)[0]["run_id"]
    config = ["--config", str(project.folder / "stage2.yaml"), *two]
    return [solved, stepped, call("stage2", *config, "--stage1-run", stepped)[0]["run_id"]]


@pytest.fixture(scope="module")
def fused(project, call, members) -> tuple[dict, str]:
    return call("ensemble", "--runs", ",".join(members))


@pytest.fixture(scope="module")
def trained_frame(project, call, members):
    """A registered model and the rows it was trained on; too poor for the usual precisions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmclf.evaluation.thresholds.PRECISIONS", (0.5, 0.6, 0.7, 0.8, 0.9))
        patch.setattr("mmclf.evaluation.thresholds.LEAST_ROWS", 4)
        call("register", "--runs", members[0], "--name", "sure")
    rows = pd.read_csv(project.shop.train_csv, dtype=str, keep_default_na=False)
    names = match_pictures(project.shop.images, list(rows["id"]))
    frame = rows[["title", "description"]].copy()
    frame["image"] = [(project.shop.images / found[0]).read_bytes() if found else None for found in names]
    return "models:/sure@champion", frame


def oof(project, run_id):
    return read_table(artifact_path(project.client.get_run(run_id), "oof.parquet"))


def test_it_is_a_run_whose_figures_are_of_rows_that_the_weights_have_not_seen(project, members, fused):
    figures, said = fused
    tables = [oof(project, run_id) for run_id in members]
    probabilities, targets, folds = [table.probabilities for table in tables], tables[0].targets(), tables[0].folds
    table = oof(project, figures["run_id"])
    assert (table.ids, table.labels, table.classes) == (tables[0].ids, tables[0].labels, tables[0].classes)
    np.testing.assert_array_equal(table.folds, folds)
    np.testing.assert_allclose(table.probabilities, pool_out_of_fold(probabilities, targets, folds), atol=1e-6)
    run = project.client.get_run(figures["run_id"])
    fitted = fit_pool(probabilities, targets)
    weights = fitted.weights
    kept = [(run_id, weight) for run_id, weight in zip(members, weights, strict=True) if weight]
    pool = json.loads(artifact_path(run, "pool.json").read_text())
    assert len(pool.pop("sha256")) == 64
    assert pool == {
        "format": 1,
        "runs": [run_id for run_id, _ in kept],
        "pool": {
            "weights": [pytest.approx(weight) for _, weight in kept],
            "by_class": [pytest.approx(added) for added in compress(fitted.by_class, weights)],
            "curve": pytest.approx(fitted.curve),
        },
    }
    assert run.data.tags["source_run"] == ",".join(run_id for run_id, _ in kept)
    assert run.data.tags["split"] == project.client.get_run(members[0]).data.tags["split"]
    assert run.data.metrics["cv/top1_mean"] == pytest.approx(figures["cv_top1_mean"])
    note = run.data.tags["mlflow.note.content"]
    for text in (note, said):
        assert "stage1, kernel head, " + members[0][:12] in text
        assert "stage2, MLP, " + members[2][:12] in text
        assert "together" in text


def test_infer_pools_what_the_members_serve(project, call, members, fused):
    run = project.client.get_run(fused[0]["run_id"])
    meta = read_pool(run)
    alone = []
    for run_id in meta.runs:
        call("infer", *project.test, "--model", run_id, "--out", str(project.folder / run_id))
        alone.append(read_table(project.folder / run_id / "probabilities.parquet").probabilities)
    _, said = call("infer", *project.test, "--model", fused[0]["run_id"], "--out", str(project.folder / "fused"))
    found = read_table(project.folder / "fused" / "probabilities.parquet").probabilities
    np.testing.assert_allclose(found, meta.pool.combine(alone), atol=1e-5)
    assert f"of fusion run {fused[0]['run_id']}" in said


def test_a_fusion_beside_another_run_is_averaged_with_it(project, call, members, fused):
    both = f"{fused[0]['run_id']},{members[1]}"
    parts = []
    for number, names in enumerate((fused[0]["run_id"], members[1], both)):
        out = project.folder / f"both-{number}"
        call("infer", *project.test, "--model", names, "--out", str(out))
        parts.append(read_table(out / "probabilities.parquet").probabilities)
    np.testing.assert_allclose(parts[2], (parts[0] + parts[1]) / 2, atol=1e-5)


def test_it_is_compared_registered_packed_and_served(project, call, members, fused):
    figures, said = call(
        "register", "--runs", f"{members[1]},{fused[0]['run_id']}", "--name", "fused", "--force", "true"
    )
    if figures["run_id"] != fused[0]["run_id"]:  # the drawn members may be as good alone
        figures, said = call("register", "--runs", fused[0]["run_id"], "--name", "fused", "--force", "true")
    assert "fusion" in said
    version = project.client.get_model_version_by_alias("fused", "champion")
    assert version.tags["stage"] == "fusion"
    assert "member: " in version.description
    call("infer", *project.test, "--model", "models:/fused@champion", "--out", str(project.folder / "served"))
    table = read_table(project.folder / "served" / "probabilities.parquet")
    call("infer", *project.test, "--model", fused[0]["run_id"], "--out", str(project.folder / "direct"))
    direct = read_table(project.folder / "direct" / "probabilities.parquet")
    np.testing.assert_allclose(table.probabilities, direct.probabilities, atol=1e-6)
    rows = pd.read_csv(project.shop.test_csv, dtype=str, keep_default_na=False)
    names = match_pictures(project.shop.images, list(rows["id"]))
    frame = rows[["title", "description"]].copy()
    frame["image"] = [(project.shop.images / found[0]).read_bytes() if found else None for found in names]
    served = mlflow.pyfunc.load_model("models:/fused@champion")
    found = served.predict(frame, params={"top_k": len(table.classes)})
    np.testing.assert_allclose(matrix(found, list(table.classes)), table.probabilities, atol=1e-5)
    assert "When to believe it" in version.description
    loaded = mmclf.load("models:/fused@champion").predict(frame, top_k=len(table.classes))
    np.testing.assert_allclose(matrix(loaded, list(table.classes)), table.probabilities, atol=1e-5)


def test_rows_that_are_not_sure_enough_are_unassigned(project, call, trained_frame):
    name, frame = trained_frame
    model = mmclf.load(name)
    everything = model.predict(frame)
    threshold = model._source.mixture.thresholds[-1]
    wanted = threshold.precision - 0.05  # the next higher one that there is
    sure = model.predict(frame, precision=wanted)
    below = everything["confidence"] < threshold.confidence
    assert 0 < below.sum() < len(below)
    assert set(sure["label"][below]) == {"unassigned"}
    pd.testing.assert_frame_equal(sure[~below], everything[~below])
    assert list(sure["top_labels"]) == list(everything["top_labels"])
    served = mlflow.pyfunc.load_model(name).predict(frame, params={"precision": wanted})
    assert list(served["label"]) == list(sure["label"])
    figures, said = call("infer", *project.train, "--model", name, "--precision", f"{wanted}")
    predictions = pd.read_csv(figures["output"], dtype=str)
    assert list(predictions.iloc[:, 1]) == list(sure["label"])
    assert figures["assigned"] == (~below).sum()
    assert f"{figures['assigned']} rows are labelled, for a precision of {wanted:g}" in said
    with pytest.raises(RowError, match=r"precision: found 0.999, but the rows held out .* reach only 0\.[5-9], "):
        model.predict(frame, precision=0.999)
    with pytest.raises(RowError, match=r"precision: found 98; it should be below 1, as 0\.98"):
        model.predict(frame, precision=98)
    with pytest.raises(MlflowException, match=r"params: precision: found 98\.0"):
        mlflow.pyfunc.load_model(name).predict(frame, params={"precision": 98.0})


def test_infer_says_why_it_can_not_keep_a_precision(project, call, members, trained_frame):
    name = trained_frame[0]
    said = call("infer", *project.test, "--model", name, "--precision", "98", fails=True)
    assert "--precision: found '98'; give a share below 1, as 0.98, or 0 for none" in said
    assert "reach only" in call("infer", *project.test, "--model", name, "--precision", "0.999", fails=True)
    both = f"{name},{members[1]}"
    assert "a threshold is one model's" in call(
        "infer", *project.test, "--model", both, "--precision", "0.5", fails=True
    )


def test_a_run_has_no_thresholds(members, trained_frame):
    with pytest.raises(RowError, match="the model has no thresholds: it isn't registered"):
        mmclf.load(members[0]).predict(trained_frame[1], precision=0.9)


def test_one_run_alone_is_scaled(project, call, members):
    figures, _ = call("ensemble", "--runs", members[1])
    pool = read_pool(project.client.get_run(figures["run_id"])).pool
    [weight] = pool.weights
    assert pool.by_class == ()
    table, before = oof(project, figures["run_id"]), oof(project, members[1])
    assert weight > 0
    np.testing.assert_array_equal(table.probabilities.argmax(axis=1), before.probabilities.argmax(axis=1))


def test_what_can_not_be_fused_is_named(project, call, members, fused):
    other = call(
        "stage1", *project.train, "--config", str(project.folder / "kernel.yaml"), "--overrides", "train.seed=7"
    )[0]["run_id"]
    said = call("ensemble", "--runs", f"{members[0]},{other}", fails=True)
    assert f"run {other} has other data or folds than run {members[0]}" in said
    single = call("stage1", *project.train, "--config", str(project.folder / "kernel.yaml"), "--fold", "0")[0]["run_id"]
    assert f"run {single}: its folds cover" in call("ensemble", "--runs", f"{members[0]},{single}", fails=True)
    said = call("infer", *project.test, "--model", fused[0]["run_id"], "--fold", "0", fails=True)
    assert "is a fusion, whose weights are for whole members" in said
