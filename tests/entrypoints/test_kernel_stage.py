"""Stage 1 with a solved head: a run like any other, from its folds to the registered model.

.venv/bin/python -m pytest tests/entrypoints/test_kernel_stage.py
"""

import mlflow
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from entrypoints import infer, register, stage1, stage2
from mmclf.config import KERNELS
from mmclf.data.catalog import match_pictures
from mmclf.data.folds import assign_folds
from mmclf.errors import CheckpointError
from mmclf.evaluation.probabilities import read_table
from mmclf.model.frozen_encoder import Encoder
from mmclf.records.runs import artifact_path, fold_checkpoints, get_run, serving_checkpoints
from mmclf.scoring.fold_models import FoldModels, members_of
from mmclf.store.files import sha256_of
from tests import stages
from tests.features import CPU, FLOAT32
from tests.serving import matrix
from tests.stages import Project, kernel_project

ENTRY_POINTS = {"stage1": stage1, "stage2": stage2, "register": register, "infer": infer}


@pytest.fixture(scope="module")
def project(tmp_path_factory, shop, tree) -> Project:
    with kernel_project(tmp_path_factory.mktemp("project"), shop, tree) as made:
        yield made


@pytest.fixture(scope="module")
def call(project):
    """Run an entry point by its name."""
    return lambda name, *options, fails=False: stages.call(ENTRY_POINTS[name], *options, fails=fails)


@pytest.fixture(scope="module")
def trained(project, call) -> tuple[dict, str]:
    return call("stage1", *project.train, "--config", str(project.folder / "kernel.yaml"))


@pytest.fixture(scope="module")
def registered(project, call, trained) -> dict:
    return call("register", "--runs", trained[0]["run_id"])[0]


def test_it_is_a_run_with_folds_checkpoints_and_an_out_of_fold_matrix(project, trained, catalog):
    figures, said = trained
    run = project.client.get_run(figures["run_id"])
    assert run.data.params["cfg/model.head"] == "kernel"
    assert run.data.tags["folds"] == "0,1"
    assert run.data.metrics["cv/top1_mean"] == pytest.approx(figures["cv_top1_mean"])
    table = read_table(artifact_path(run, "oof.parquet"))
    assert table.ids == catalog.ids
    np.testing.assert_array_equal(table.folds, assign_folds(catalog, 2, 42))
    assert len(fold_checkpoints(project.client, run)) == 2
    for fold in (0, 1):
        assert f"stage1 fold {fold}: loss " in said
    assert "solved in " in said
    assert "epoch" not in said


def test_what_scores_was_trained_on_all_rows(project, call, trained):
    run = get_run(project.client, trained[0]["run_id"])
    [served] = serving_checkpoints(project.client, run)
    assert (served.name, served.meta.fold) == ("all-rows", None)
    assert len(load_file(served.folder / "weights.safetensors")["head.support.has"]) == len(
        read_table(artifact_path(run, "oof.parquet"))
    )
    found = {}
    for fold in ("0", "1", "all"):
        out = project.folder / f"fold-{fold}"
        _, said = call("infer", *project.test, "--model", run.info.run_id, "--fold", fold, "--out", str(out))
        found[fold] = read_table(out / "probabilities.parquet").probabilities
        of = "the model of all rows" if fold == "all" else f"fold {fold}"
        assert f"infer: {of} of stage1 run {run.info.run_id}" in said
    assert np.abs(found["0"] - found["1"]).max() > 1e-3
    assert np.abs(found["all"] - (found["0"] + found["1"]) / 2).max() > 1e-3


def test_a_fold_alone_is_served_as_it_is(project, call):
    config = ["--config", str(project.folder / "kernel.yaml"), "--fold", "1"]
    figures, _ = call("stage1", *project.train, *config)
    [served] = serving_checkpoints(project.client, get_run(project.client, figures["run_id"]))
    assert served.meta.fold == 1


def test_a_model_of_all_rows_has_no_folds(project, call, registered):
    said = call("infer", *project.test, "--model", "models:/mmclf@champion", "--fold", "1", fails=True)
    assert "has no fold 1; it was trained on all rows" in said
    version = project.client.get_model_version_by_alias("mmclf", "champion")
    assert version.tags["folds"] == "all-rows"


def test_the_registered_model_answers_as_infer_does(project, call, trained, registered):
    assert registered["verdict"] == "champion"
    call("infer", *project.test, "--out", str(project.folder / "champion"))
    table = read_table(project.folder / "champion" / "probabilities.parquet")
    rows = pd.read_csv(project.shop.test_csv, dtype=str, keep_default_na=False)
    names = match_pictures(project.shop.images, list(rows["id"]))
    frame = rows[["title", "description"]].copy()
    frame["image"] = [(project.shop.images / found[0]).read_bytes() if found else None for found in names]
    model = mlflow.pyfunc.load_model("models:/mmclf@champion")
    found = model.predict(frame, params={"top_k": len(table.classes)})
    np.testing.assert_allclose(matrix(found, list(table.classes)), table.probabilities, atol=1e-5)
    card = project.client.get_model_version_by_alias("mmclf", "champion").description
    assert f"a head that is solved, on the kernels {', '.join(KERNELS)}" in card
    assert "trained on all rows" in card
    assert "at most 16 tokens and its words and its characters" in card


def test_words_alone_need_no_towers(project, call, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the towers were asked")

    monkeypatch.setattr(Encoder, "images", fail)
    monkeypatch.setattr(Encoder, "texts", fail)
    config = ["--config", str(project.folder / "kernel.yaml"), "--overrides", "model.kernels=[words,chars]"]
    figures, _ = call("stage1", *project.train, *config)
    assert figures["cv_top1_mean"] > 0.2
    call("infer", *project.test, "--model", figures["run_id"], "--out", str(project.folder / "words"))
    found = read_table(project.folder / "words" / "probabilities.parquet").probabilities
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_what_is_learned_of_rows_is_learned_of_training_rows(project, call, trained, shop, tmp_path):
    """Fold 0's head doesn't change when the texts of the rows that it holds out do."""
    oof = read_table(artifact_path(project.client.get_run(trained[0]["run_id"]), "oof.parquet"))
    held_out = {i for i, fold in zip(oof.ids, oof.folds, strict=True) if fold == 0}
    rows = pd.read_csv(shop.train_csv, dtype=str, keep_default_na=False)
    rows.loc[rows["id"].isin(held_out), ["title", "description"]] = "something else altogether"
    rows.to_csv(tmp_path / "train.csv", index=False)
    config = ["--config", str(project.folder / "kernel.yaml"), "--fold", "0"]
    weights = []
    for table in (shop.train_csv, tmp_path / "train.csv"):
        figures, _ = call("stage1", "--csv", str(table), "--images", str(shop.images), *config)
        [checkpoint] = fold_checkpoints(project.client, project.client.get_run(figures["run_id"]), 0)
        weights.append(load_file(checkpoint.folder / "weights.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert np.array_equal(tensor, weights[1][name]), name


def test_stage_2_does_not_start_from_it(project, call, trained):
    said = call(
        "stage2", "--config", str(project.folder / "stage2.yaml"), "--stage1-run", trained[0]["run_id"], fails=True
    )
    assert "model.head is kernel there and mlp here" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            "train.epochs=3",
            "train.epochs: found 3, but it is for model.head=mlp, and model.head is kernel; leave it out",
        ),
        ("train.lrs.head=0.1", "train.lrs.head: found 0.1, but it is for model.head=mlp"),
        ("model.kernels=[words,wrods]", "model.kernels.1: found 'wrods'"),
        ("model.kernels=[]", "model.kernels: found []"),
        ("model.head=tree", "model.head: found 'tree'"),
    ],
)
def test_mistakes_are_named(project, call, overrides, said):
    config = ["--config", str(project.folder / "kernel.yaml")]
    assert said in call("stage1", *project.train, *config, "--overrides", overrides, fails=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "head.log_prior"}, "log_prior"),
        (lambda t: t | {"head.log_prior": t["head.log_prior"][:-1].clone()}, "doesn't fit"),
        (lambda t: t | {"head.support.image": t["head.support.image"][:-1].clone()}, "support.image is"),
    ],
)
def test_a_damaged_head_is_named(project, trained, catalog, config, tmp_path, change, said):
    import shutil
    from dataclasses import replace

    run = project.client.get_run(trained[0]["run_id"])
    [checkpoint] = fold_checkpoints(project.client, run, 0)
    copied = replace(checkpoint, folder=shutil.copytree(checkpoint.folder, tmp_path / "copy"))
    path = copied.folder / "weights.safetensors"
    changed = change(load_file(path))
    path.unlink()  # the store's own file may be the same one
    save_file(changed, path)
    copied = replace(copied, meta=copied.meta.model_copy(update={"file_sha256": sha256_of(path)}))
    models = FoldModels(members_of([copied], config.data, config.infer), device=CPU, precision=FLOAT32)
    with pytest.raises(CheckpointError, match="its head doesn't fit") as error:
        models.load(0)
    assert said in str(error.value)
