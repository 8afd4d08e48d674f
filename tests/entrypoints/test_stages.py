"""The chain stage1 -> stage2 -> infer -> ensemble in one process, and every error a user may meet on the way.

.venv/bin/python -m pytest tests/entrypoints/test_stages.py
"""

import json
import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from entrypoints import ensemble, infer, stage1, stage2
from mmclf.evaluation.probabilities import read_table
from mmclf.records.runs import artifact_path, fold_checkpoints
from tests.stages import Project
from tests.stores import mlflow_store

STAGES = {"stage1": stage1, "stage2": stage2, "infer": infer, "ensemble": ensemble}


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    """One store for the file: making one takes seconds."""
    folder = tmp_path_factory.mktemp("project")
    with mlflow_store(folder):
        yield Project(folder, shop, tree)


@pytest.fixture
def call(project, capsys):
    """Run an entry point; gives its JSON, or with `fails` its message after checking that exit code is 2."""

    def run(stage, *options, fails=False):
        code = STAGES[stage].main(project.command(stage, *options))
        out, err = capsys.readouterr()
        if fails:
            assert code == 2, err
            assert out == ""
            assert "Traceback" not in err
            assert mlflow.active_run() is None
            lines = [line for line in err.splitlines() if line.startswith("error: ")]
            assert len(lines) == 1, err
            return err[err.index("error: ") :]
        assert code == 0, err
        lines = out.splitlines()
        assert len(lines) == 1, out
        return json.loads(lines[0])

    return run


@pytest.fixture(scope="module")
def chain(project) -> dict[str, dict]:
    """Every stage once, with no run id given."""
    import contextlib
    import io

    results = {}
    for stage, options in (
        ("stage1", project.train),
        ("stage2", []),
        ("infer", project.test),
        ("ensemble", ["--out", str(project.folder / "result")]),
    ):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert STAGES[stage].main(project.command(stage, *options)) == 0
        results[stage] = json.loads(out.getvalue())
    return results


def children(project, run_id) -> list:
    runs = project.client.search_runs(["0"], f"tags.mlflow.parentRunId = '{run_id}'")
    return sorted(runs, key=lambda run: run.data.tags["fold"])


@pytest.mark.parametrize(("stage", "rate"), [("stage1", 0.01), ("stage2", 0.001)])
def test_a_stage_is_a_parent_with_one_child_per_fold(project, chain, stage, rate):
    result = chain[stage]
    assert set(result) == {"run_id", "cv_top1_mean", "cv_top1_std", "cv_top3_mean", "folds", "seconds"}
    assert result["folds"] == 2
    parent = project.client.get_run(result["run_id"])
    assert parent.info.status == "FINISHED"
    folds = children(project, result["run_id"])
    assert [run.data.tags["fold"] for run in folds] == ["0", "1"]
    best = []
    for run in folds:
        assert run.info.status == "FINISHED"
        for tag in ("stage", "fold", "config_id", "fingerprint", "git_dirty", "split", "backbone", "weights_sha256"):
            assert run.data.tags[tag], tag
        assert run.data.tags["stage"] == stage
        assert run.data.params["cfg/train.epochs"] == "2"
        modules = ["head"] if stage == "stage1" else ["image_encoder", "text_encoder", "head"]
        speed = [f"speed/{name}" for name in ("rows_per_second", "data_wait", "peak_memory_mib", "epoch_seconds")]
        for name in ["train/loss", "val/top1", "val/top3", *speed] + [f"lr/{module}" for module in modules]:
            history = project.client.get_metric_history(run.info.run_id, name)
            assert [point.step for point in history] == [1, 2], name
        top1 = [point.value for point in project.client.get_metric_history(run.info.run_id, "val/top1")]
        assert run.data.metrics["best/top1"] == max(top1)
        assert run.data.metrics["best/epoch"] == 1 + int(np.argmax(top1))
        best.append(max(top1))
    assert parent.data.metrics["cv/top1_mean"] == pytest.approx(np.mean(best))
    assert parent.data.metrics["cv/top1_std"] == pytest.approx(np.std(best))
    assert result["cv_top1_mean"] == pytest.approx(np.mean(best))
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith(f"**top-1 {np.mean(best):.4f} ± {np.std(best):.4f}**, top-3 ")
    assert f"| 1&emsp; | {int(folds[1].data.metrics['best/epoch'])} of 2&emsp; |" in note
    assert parent.info.run_name == f"{stage} tiny · 2 epochs at {rate}, img_size 32, max_len 16 · {np.mean(best):.3f}"
    assert [run.info.run_name for run in folds] == [f"{stage} fold {n} · {top1:.3f}" for n, top1 in enumerate(best)]
    # the order in which the UI shows them
    assert [name.partition("/")[0] for name in parent.data.metrics][:9] == ["cv"] * 8 + ["seconds"]
    assert next(iter(folds[0].data.metrics)) == "best/top1"
    assert not [name for name in parent.data.metrics if name.startswith("system/")]
    [logged] = parent.inputs.dataset_inputs
    assert logged.dataset.digest == parent.data.tags["fingerprint"]


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_fold_keeps_its_history_curves_checkpoint_and_out_of_fold_rows(project, chain, stage):
    for run in children(project, chain[stage]["run_id"]):
        history = pd.read_csv(artifact_path(run, "history.csv"))
        assert list(history.columns[:4]) == ["epoch", "train_loss", "val_acc", "val_top3"]
        assert len(history) == 2
        assert list(artifact_path(run, "tensorboard").glob("events.out.tfevents.*"))
        weights = load_file(artifact_path(run, "checkpoint") / "weights.safetensors")
        assert any(name.startswith("backbone.") for name in weights) == (stage == "stage2")
        table = read_table(artifact_path(run, "oof.parquet"))
        assert set(table.folds) == {int(run.data.tags["fold"])}
        reached = accuracy_score(table.labels, np.array(table.classes)[table.probabilities.argmax(axis=1)])
        assert reached == pytest.approx(run.data.metrics["best/top1"])


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_the_joined_matrix_holds_every_row_once(project, chain, stage, catalog):
    parent = project.client.get_run(chain[stage]["run_id"])
    table = read_table(artifact_path(parent, "oof.parquet"))
    assert table.ids == catalog.ids
    assert table.labels == catalog.labels
    assert set(table.folds) == {0, 1}
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1, atol=1e-5)
    frame = pd.read_parquet(artifact_path(parent, "oof.parquet"))
    assert list(frame.columns) == ["id", "fold", "label", *catalog.classes]
    assert yaml.safe_load(artifact_path(parent, "config.yaml").read_text())["train"]["epochs"] == 2


def test_stage_2_starts_from_the_same_folds_stage_1_best(project, chain, call):
    """With rates of zero nothing moves, so every fold must reach just what its stage-1 best reached."""
    still = "train.lrs.head=0 train.lrs.image_encoder=0 train.lrs.text_encoder=0 train.epochs=1 train.amp=false"
    before = call("stage1", *project.train, "--overrides", "train.amp=false")
    after = call("stage2", "--overrides", still, "--stage1-run", before["run_id"])
    assert project.client.get_run(after["run_id"]).data.tags["stage1_run"] == before["run_id"]
    tables = [
        read_table(artifact_path(project.client.get_run(run["run_id"]), "oof.parquet")) for run in (before, after)
    ]
    np.testing.assert_allclose(tables[0].probabilities, tables[1].probabilities, atol=1e-5)
    for one, other in zip(children(project, before["run_id"]), children(project, after["run_id"]), strict=True):
        start = load_file(artifact_path(one, "checkpoint") / "weights.safetensors")
        end = load_file(artifact_path(other, "checkpoint") / "weights.safetensors")
        assert all(np.array_equal(tensor, end[name]) for name, tensor in start.items())


def test_what_adapters_learned_is_in_the_checkpoint_and_infer_knows_nothing_of_them(project, chain, call):
    rates = "train.lrs.image_encoder=0.01 train.lrs.text_encoder=0.01 train.epochs=1 train.amp=false"
    options = ["--stage1-run", chain["stage1"]["run_id"], "--fold", "0"]
    run = call("stage2", "--overrides", f"train.lora_rank=2 {rates}", *options)
    [fold], [plain, _] = children(project, run["run_id"]), children(project, chain["stage2"]["run_id"])
    weights, others = (load_file(artifact_path(each, "checkpoint") / "weights.safetensors") for each in (fold, plain))
    assert weights.keys() == others.keys()
    scored = call("infer", *project.train, "--model", run["run_id"], "--overrides", "infer.tta=false")
    found = read_table(artifact_path(project.client.get_run(scored["run_id"]), "probabilities.parquet"))
    held_out = read_table(artifact_path(fold, "oof.parquet"))
    rows = [found.ids.index(row_id) for row_id in held_out.ids]
    np.testing.assert_allclose(found.probabilities[rows], held_out.probabilities, atol=1e-4)


def test_infer_writes_a_submission_and_probabilities(project, chain):
    result = chain["infer"]
    assert result["rows"] == project.shop.test_rows
    assert set(result) == {"run_id", "rows", "seconds", "output"}
    run = project.client.get_run(result["run_id"])
    assert run.data.tags["source_run"] == chain["stage2"]["run_id"]
    submission = pd.read_csv(result["output"], dtype=str, keep_default_na=False)
    ids = pd.read_csv(project.shop.test_csv, dtype=str, keep_default_na=False)["id"]
    assert list(submission.columns) == ["id", "categories"]
    assert list(submission["id"]) == list(ids)
    table = read_table(artifact_path(run, "probabilities.parquet"))
    assert list(submission["categories"]) == [table.classes[i] for i in table.probabilities.argmax(axis=1)]
    frame = pd.read_parquet(artifact_path(run, "probabilities.parquet"))
    assert list(frame.columns) == ["id", *table.classes]


def test_infer_scores_a_stage_1_run_or_one_fold_where_named(project, chain, call):
    both = call("infer", *project.test, "--model", chain["stage1"]["run_id"])
    folds = [call("infer", *project.test, "--model", chain["stage1"]["run_id"], "--fold", fold) for fold in ("0", "1")]
    tables = [
        read_table(artifact_path(project.client.get_run(r["run_id"]), "probabilities.parquet")) for r in (both, *folds)
    ]
    mean = (tables[1].probabilities + tables[2].probabilities) / 2
    np.testing.assert_allclose(tables[0].probabilities, mean, atol=1e-5)


def test_another_scale_goes_through_infer_and_ensemble(project, chain, call):
    one = call("infer", *project.test)
    two = call("infer", *project.test, "--overrides", "data.img_size=48", "--out", str(project.folder / "wide"))
    assert two["output"] == str(project.folder / "wide" / "submission.csv")
    names = f"{one['run_id']},{two['run_id']}"
    joined = call("ensemble", "--runs", names, "--weights", "3,1")
    assert joined["runs"] == 2
    tables = [
        read_table(artifact_path(project.client.get_run(r["run_id"]), "probabilities.parquet"))
        for r in (one, two, joined)
    ]
    assert not np.allclose(tables[0].probabilities, tables[1].probabilities, atol=1e-3)
    mean = 0.75 * tables[0].probabilities + 0.25 * tables[1].probabilities
    np.testing.assert_allclose(tables[2].probabilities, mean, atol=1e-6)
    # with no run named: the newest of each scored run, folds and scale
    assert call("ensemble")["runs"] >= 2


def test_ensemble_writes_where_it_is_told(project, chain):
    assert chain["ensemble"]["output"] == str(project.folder / "result" / "submission.csv")
    assert (project.folder / "result" / "probabilities.parquet").exists()


def test_the_same_seed_gives_the_same_out_of_fold_matrix(project, chain, call):
    again = call("stage1", *project.train)
    other = call("stage1", *project.train, "--overrides", "train.seed=43")
    workers = call("stage1", *project.train, "--overrides", "data.num_workers=2")
    first, same, different, parallel = (
        read_table(artifact_path(project.client.get_run(r["run_id"]), "oof.parquet"))
        for r in (chain["stage1"], again, other, workers)
    )
    assert np.array_equal(first.probabilities, same.probabilities)
    assert np.array_equal(first.probabilities, parallel.probabilities)
    assert np.array_equal(first.folds, same.folds)
    assert not np.array_equal(first.probabilities, different.probabilities)


def test_one_fold_can_be_run_alone_and_equals_its_part_of_a_whole_run(project, chain, call):
    alone = call("stage1", *project.train, "--fold", "1")
    assert set(alone) == {"run_id", "top1", "top3", "fold", "folds", "seconds"}
    assert (alone["fold"], alone["folds"]) == (1, 1)
    [run] = children(project, alone["run_id"])
    assert alone["top1"] == run.data.metrics["best/top1"]
    parent = project.client.get_run(alone["run_id"])
    assert not [name for name in parent.data.metrics if name.startswith("cv/")]
    assert "±" not in parent.data.tags["mlflow.note.content"]
    assert "mean" not in parent.data.tags["mlflow.note.content"]
    whole = children(project, chain["stage1"]["run_id"])[1]
    tables = [read_table(artifact_path(r, "oof.parquet")) for r in (run, whole)]
    assert np.array_equal(tables[0].probabilities, tables[1].probabilities)
    # stage 2 of both folds can't start from it, and finds an older run that has them
    resumed = call("stage2", "--overrides", "train.epochs=1")
    assert project.client.get_run(resumed["run_id"]).data.tags["stage1_run"] != alone["run_id"]
    message = call("stage2", "--stage1-run", alone["run_id"], fails=True)
    assert "it has no fold 0" in message


def test_groups_given_folds_and_image_modes_reach_the_training(project, call, tmp_path):
    table = pd.read_csv(project.shop.train_csv, dtype=str, keep_default_na=False)
    table["family"] = [f"g{n // 2}" for n in range(len(table))]
    table["fold"] = [str(n % 3) for n in range(len(table))]
    table.to_csv(tmp_path / "train.csv", index=False)
    options = ["--csv", str(tmp_path / "train.csv"), "--images", str(project.shop.images)]
    result = call("stage1", *options, "--overrides", "data.multi_image_mode=mean_pool train.epochs=1")
    assert result["folds"] == 3
    matrix = read_table(artifact_path(project.client.get_run(result["run_id"]), "oof.parquet"))
    assert list(matrix.folds) == [int(fold) for fold in table["fold"]]
    result = call(
        "stage1",
        *options,
        "--overrides",
        "data.fold_col=none data.group_col=family data.multi_image_mode=random train.epochs=1",
    )
    matrix = read_table(artifact_path(project.client.get_run(result["run_id"]), "oof.parquet"))
    assert pd.Series(matrix.folds).groupby(list(table["family"])).nunique().max() == 1


def test_an_unreadable_picture_is_counted_in_the_run(project, call, tmp_path):
    images = shutil.copytree(project.shop.images, tmp_path / "images")
    [first, *_] = sorted(images.glob("*_1.*"))
    first.write_bytes(b"not a picture")
    options = ["--csv", str(project.shop.train_csv), "--images", str(images)]
    result = call("stage1", *options, "--overrides", "train.epochs=1")
    counts = [run.data.metrics["data/unreadable_pictures"] for run in children(project, result["run_id"])]
    assert counts == [1, 1]  # in the training rows of one fold and the held-out rows of the other
    message = call("stage1", *options, "--overrides", "data.on_bad_image=error", fails=True)
    assert first.name in message
    assert "data.on_bad_image=placeholder" in message
    [failed] = project.client.search_runs(["0"], "tags.role = 'parent' and status = 'FAILED'", max_results=1)
    assert first.name in failed.data.tags["error"]


BAD_INPUT = [
    # stage, options, words of the message
    ("stage1", ["--csv", "no.csv", "--images", "{images}"], ["no.csv", "no such file", "--csv"]),
    ("stage1", ["--csv", "{csv}", "--images", "no-images"], ["no-images", "no such folder", "--images"]),
    ("stage1", ["--csv", "{csv}", "--images", "{empty}"], ["holds no picture"]),
    ("stage1", ["--csv", "{test}", "--images", "{images}"], ["no label column", "data.label_col"]),
    ("stage1", ["{train}", "--overrides", "train.epoch=3"], ["train.epoch", "did you mean train.epochs"]),
    ("stage1", ["{train}", "--overrides", "train.epochs=many"], ["train.epochs", "'many'"]),
    ("stage1", ["{train}", "--overrides", "data.id_col=sku"], ["no id column 'sku'", "'title'"]),
    ("stage1", ["{train}", "--overrides", "train.folds=50"], ["fewer rows than the 50 folds", "train.folds=6"]),
    ("stage1", ["{train}", "--overrides", "data.max_len=77"], ["data.max_len", "set data.max_len=32"]),
    ("stage1", ["{train}", "--overrides", "model.clip_trainable=true"], ["model.clip_trainable"]),
    ("stage1", ["{train}", "--overrides", "model.name=ViT-X"], ["open_clip has no model 'ViT-X'"]),
    ("stage1", ["{train}", "--overrides", "model.name=ViT-L-14 model.pretrained=openai"], ["QuickGELU"]),
    ("stage1", ["{train}", "--config", "none.yaml"], ["none.yaml", "configs/"]),
    ("stage1", ["{train}", "--fold", "9"], ["no fold 9", "0, 1"]),
    ("stage1", ["{train}", "--fold", "one"], ["'one'", "`all`"]),
    ("stage1", ["--csv", "s3://shop/a.csv", "--images", "{images}"], ["s3://shop/a.csv", "only `batch`"]),
    ("stage1", ["--csv", "{csv}", "--images", "gs://shop/images"], ["gs://shop/images", "only `batch`"]),
    ("stage2", ["--stage1-run", "0123"], ["run '0123'", "not in the store"]),
    ("stage2", ["--overrides", "train.seed=7"], ["no stage-1 run fits", "train.seed"]),
    ("stage2", ["--overrides", "model.hidden_dim=33"], ["model.hidden_dim is 32 there and 33 here"]),
    ("stage2", ["--overrides", "model.clip_trainable=false"], ["model.clip_trainable"]),
    ("infer", ["{score}", "--overrides", "train.epochs=4"], ["train.epochs belongs to training"]),
    ("infer", ["{score}", "--config", "{odd}"], ["odd.yaml", "dta"]),
    ("infer", ["{score}", "--fold", "7"], ["has no finished fold 7"]),
    ("infer", ["{score}", "--model", "{infer}"], ["is infer", "give a run of stage1 or stage2"]),
    ("infer", ["{score}", "--model", "{fold}"], ["is a fold of stage1", "give a run of stage1 or stage2"]),
    ("infer", ["--csv", "no.csv", "--images", "{images}"], ["no.csv", "no such file", "--csv"]),
    ("infer", ["--csv", "{csv}", "--images", "no-images"], ["no-images", "no such folder", "--images"]),
    ("infer", ["{score}", "--overrides", "data.img_sise=48"], ["did you mean data.img_size"]),
    ("ensemble", ["--runs", "{infer},{infer}"], ["named twice", "--weights"]),
    ("ensemble", ["--runs", "{infer}", "--weights", "1,2"], ["found 2 for 1 runs"]),
    ("ensemble", ["--weights", "a"], ["--weights", "'a'"]),
    ("ensemble", ["--runs", "{stage1},{infer}"], ["is infer", "give a run of stage1 or stage2"]),
    ("ensemble", ["--runs", "{stage1}", "--weights", "1"], ["--weights is for runs of infer"]),
    ("ensemble", ["--runs", "{stage1}", "--out", "there"], ["--out is for runs of infer"]),
]


@pytest.mark.parametrize(
    ("stage", "options", "words"), BAD_INPUT, ids=lambda v: " ".join(v)[:60] if isinstance(v, list) else v
)
def test_bad_input_is_named_and_leaves_no_run(project, chain, call, tmp_path, stage, options, words):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "odd.yaml").write_text("dta: {img_size: 48}\n")
    known = {
        "csv": project.shop.train_csv,
        "test": project.shop.test_csv,
        "images": project.shop.images,
        "empty": empty,
        "odd": tmp_path / "odd.yaml",
        "stage1": chain["stage1"]["run_id"],
        "infer": chain["infer"]["run_id"],
        "fold": children(project, chain["stage1"]["run_id"])[0].info.run_id,
    }
    whole = {"{train}": project.train, "{score}": project.test}
    filled = [part.format(**known) for option in options for part in whole.get(option, [option])]
    before = {run.info.run_id for run in project.client.search_runs(["0"])}
    message = call(stage, *filled, fails=True)
    for word in words:
        assert word in message
    assert {run.info.run_id for run in project.client.search_runs(["0"])} == before


def test_classes_that_differ_between_the_stages_are_named(project, chain, call, tmp_path):
    table = pd.read_csv(project.shop.train_csv, dtype=str, keep_default_na=False)
    gone = table["categories"].iloc[0]
    table["categories"] = table["categories"].replace(gone, "Something else")
    table.to_csv(tmp_path / "train.csv", index=False)
    options = ["--csv", str(tmp_path / "train.csv"), "--images", str(project.shop.images)]
    message = call("stage2", *options, "--stage1-run", chain["stage1"]["run_id"], fails=True)
    assert "classes differ" in message
    assert gone in message
    assert "Something else" in message


def test_a_table_without_the_columns_that_were_trained_on_is_refused(project, chain, call, tmp_path):
    table = pd.read_csv(project.shop.test_csv, dtype=str, keep_default_na=False)
    table.drop(columns="description").to_csv(tmp_path / "test.csv", index=False)
    options = ["--csv", str(tmp_path / "test.csv"), "--images", str(project.shop.images)]
    message = call("infer", *options, fails=True)
    assert "no column 'description'" in message
    # a user who means it says so
    assert call("infer", *options, "--overrides", "data.text_cols=[title]")["rows"] == len(table)


def test_ensemble_refuses_runs_over_other_rows(project, chain, call, tmp_path):
    table = pd.read_csv(project.shop.test_csv, dtype=str, keep_default_na=False)
    table.iloc[:-2].to_csv(tmp_path / "test.csv", index=False)
    fewer = call("infer", "--csv", str(tmp_path / "test.csv"), "--images", str(project.shop.images))
    message = call("ensemble", "--runs", f"{chain['infer']['run_id']},{fewer['run_id']}", fails=True)
    assert "scored other rows" in message
    assert "2 ids in one only" in message


def test_a_run_that_failed_is_not_started_from(project, chain, call):
    failed = project.client.search_runs(["0"], "tags.role = 'parent' and status = 'FAILED'")
    run_id = failed[0].info.run_id if failed else project.client.create_run("0", tags={"stage": "stage1"}).info.run_id
    message = call("stage2", "--stage1-run", run_id, fails=True)
    assert "not finished" in message


def test_checkpoints_are_read_in_place_not_copied(project, chain):
    parent = project.client.get_run(chain["stage1"]["run_id"])
    for checkpoint in fold_checkpoints(project.client, parent):
        assert str(checkpoint.folder).startswith(str(project.folder))
