"""Stage 1 by the classes' names: a run like any other, with classes that have no rows, alone and in a fusion.

.venv/bin/python -m pytest tests/entrypoints/test_zero_shot.py
"""

import copy
import re

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

import mmclf
from entrypoints import ensemble, fit, infer, register, stage1
from mmclf.data.catalog import match_pictures
from mmclf.evaluation.pool import Pool
from mmclf.evaluation.probabilities import best_classes, read_table
from mmclf.records.fusion import read_pool
from mmclf.records.runs import artifact_path, fold_checkpoints, serving_checkpoints
from tests import stages
from tests.named import ADDED, SIZE, draw_named_shop, make_aligned
from tests.serving import matrix
from tests.stores import mlflow_store
from tests.towers import make_dual

ENTRY_POINTS = {"fit": fit, "stage1": stage1, "ensemble": ensemble, "register": register, "infer": infer}


class Named:
    """The shop, its configurations, and rows as clients send them."""

    def __init__(self, folder, clip) -> None:
        self.folder, self.clip = folder, clip
        self.shop = draw_named_shop(folder / "shop")
        self.train = ["--csv", str(self.shop.train_csv), "--images", str(self.shop.images)]
        self.test = ["--csv", str(self.shop.test_csv), "--images", str(self.shop.images)]
        model = {"name": f"local-dir:{clip}", "pretrained": None, "clip_trainable": False}
        data = {"img_size": SIZE, "max_len": 16}
        self.tree = {"data": data, "model": model, "train": {"folds": 2}}
        named = data | {"classes_csv": str(self.shop.classes_csv)}
        self.write("names", data=named, model=model | {"head": "zero-shot"})
        self.write("kernel", model=model | {"head": "kernel"})

    def write(self, name, **sections) -> None:
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(copy.deepcopy(self.tree | sections)))

    def config(self, name) -> list[str]:
        return ["--config", str(self.folder / f"{name}.yaml")]

    @property
    def labels(self) -> pd.Series:
        return pd.read_csv(self.shop.labels_csv, dtype=str).set_index("id")["label"]

    def frame(self) -> pd.DataFrame:
        rows = pd.read_csv(self.shop.test_csv, dtype=str, keep_default_na=False)
        names = match_pictures(self.shop.images, list(rows["id"]))
        frame = rows[["title"]].copy()
        frame["image"] = [(self.shop.images / found[0]).read_bytes() if found else None for found in names]
        return frame

    def accuracy(self, table, classes=None) -> float:
        """Top-1, of the rows of some classes alone."""
        truth = self.labels.reindex(table.ids).to_numpy()
        chosen = np.isin(truth, classes or list(set(truth)))
        return float((np.array(best_classes(table), dtype=object) == truth)[chosen].mean())


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Named:
    folder = tmp_path_factory.mktemp("project")
    with mlflow_store(folder):
        yield Named(folder, make_aligned(tmp_path_factory.mktemp("aligned") / "tiny"))


@pytest.fixture(scope="module")
def call(project):
    """Run an entry point by its name."""
    return lambda name, *options, fails=False: stages.call(ENTRY_POINTS[name], *options, fails=fails)


@pytest.fixture(scope="module")
def trained(project, call) -> tuple[dict, str]:
    return call("stage1", *project.train, *project.config("names"))


@pytest.fixture(scope="module")
def kernel(project, call) -> str:
    """A run that knows only the classes that have rows."""
    return call("stage1", *project.train, *project.config("kernel"))[0]["run_id"]


@pytest.fixture(scope="module")
def fused(project, call, trained, kernel) -> tuple[dict, str]:
    return call("ensemble", "--runs", f"{kernel},{trained[0]['run_id']}")


@pytest.fixture(scope="module")
def client(project):
    return mlflow.MlflowClient()


def infer_table(project, call, model, name):
    _, said = call("infer", *project.test, "--model", model, "--out", str(project.folder / name))
    return read_table(project.folder / name / "probabilities.parquet"), said


def test_it_is_a_run_with_folds_and_the_figures_of_the_names_alone(client, trained):
    figures, said = trained
    run = client.get_run(figures["run_id"])
    table = read_table(artifact_path(run, "oof.parquet"))
    assert ADDED in table.classes
    assert ADDED not in table.labels
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1, atol=1e-5)
    metrics = run.data.metrics
    chance = 1 / len(table.classes)
    assert metrics["zero_shot/top1"] > 3 * chance
    assert metrics["zero_shot/top3"] > metrics["zero_shot/top1"]
    assert metrics["zero_shot/text_top1"] > chance
    assert metrics["zero_shot/alignment"] > 5
    assert metrics["cv/top1_mean"] > 3 * chance
    assert metrics["cv/loss"] < np.log(len(table.classes))
    assert metrics["data/classes_without_rows"] == 1
    assert f"top-1 {metrics['zero_shot/top1']:.4f}" in said
    assert f"note: no row has the label '{ADDED}', which is found by its name alone" in said
    assert "epoch" not in said
    assert len(fold_checkpoints(client, run)) == 2


def test_a_class_without_rows_is_found(project, call, client, trained):
    run = client.get_run(trained[0]["run_id"])
    [served] = serving_checkpoints(client, run)
    assert sorted(path.name for path in served.folder.iterdir()) == ["meta.json", "weights.safetensors"]
    assert set(load_file(served.folder / "weights.safetensors")) == {
        "head.classes",
        "head.log_prior",
        "head.sides",
        *(f"head.scales.{pattern}" for pattern in ("both", "picture", "text")),
    }
    table, said = infer_table(project, call, run.info.run_id, "names")
    assert "the model of all rows" in said
    assert project.accuracy(table) > 0.4
    assert project.accuracy(table, [ADDED]) > 0.4
    model = mmclf.load(run.info.run_id)
    assert model.classes == table.classes
    figures = model.evaluate(project.shop.test_csv, labels=project.shop.labels_csv, images=project.shop.images)
    assert figures["top1"] == pytest.approx(project.accuracy(table))


def test_the_registered_model_answers_as_infer_does(project, call, client, trained):
    figures, _ = call("register", "--runs", trained[0]["run_id"], "--name", "names")
    assert figures["verdict"] == "champion"
    table, _ = infer_table(project, call, trained[0]["run_id"], "direct")
    model = mlflow.pyfunc.load_model("models:/names@champion")
    found = model.predict(project.frame(), params={"top_k": len(table.classes)})
    np.testing.assert_allclose(matrix(found, list(table.classes)), table.probabilities, atol=1e-5)
    version = client.get_model_version_by_alias("names", "champion")
    assert 'of the classes\' names alone, in "a photo of a {}", ' in version.description
    bundle = mmclf.load("models:/names@champion")._source.checkpoints[0]
    assert bundle.meta.config.data.classes_csv is None
    assert str(project.folder) not in (bundle.folder / "meta.json").read_text()


def test_names_are_what_decides(project, call, client, trained):
    """Without them c1 and c2 say nothing."""
    config = [*project.config("names"), "--overrides", "data.classes_csv=null"]
    figures, said = call("stage1", *project.train, *config)
    table = read_table(artifact_path(client.get_run(figures["run_id"]), "oof.parquet"))
    assert ADDED not in table.classes
    assert "note: no row" not in said
    named = client.get_run(trained[0]["run_id"]).data.metrics["zero_shot/top1"]
    assert client.get_run(figures["run_id"]).data.metrics["zero_shot/top1"] < named


def test_names_that_say_nothing_are_warned_of(project, call, trained, tmp_path):
    codes = {name: f"x{number * 7}" for number, name in enumerate(sorted(set(project.labels) - {ADDED}))}
    rows = [f"{label},{code}\n" for label, code in codes.items()]
    (tmp_path / "codes.csv").write_text("".join(["label,name\n", *rows]))
    config = [*project.config("names"), "--overrides", f"data.classes_csv={tmp_path / 'codes.csv'}"]
    said = call("stage1", *project.train, *config)[1]
    warning = "the classes' names say next to nothing of the pictures"
    assert warning in said
    assert warning not in trained[1]


@pytest.mark.parametrize(
    ("clip", "overrides", "said"),
    [
        (None, "model.name=ViT-B-32 model.pretrained=null", "model.pretrained: null makes random weights of ViT-B-32"),
        ("clip_folder", "", "aren't aligned: pictures agree with their texts by "),
        ("dual", "data.img_size=64 data.max_len=77", "aren't aligned: pictures agree with their texts by "),
    ],
)
def test_towers_that_are_not_aligned_are_refused(project, call, client, request, tmp_path, clip, overrides, said):
    if clip is not None:
        folder = make_dual(tmp_path / "dual") if clip == "dual" else request.getfixturevalue(clip)
        overrides += f" model.name=local-dir:{folder}"
    before = len(client.search_runs(["0"]))
    found = call("stage1", *project.train, *project.config("names"), "--overrides", overrides, fails=True)
    assert said in found
    assert "or model.head to kernel" in found or clip is None
    assert len(client.search_runs(["0"])) == before


def test_towers_that_are_not_aligned_compare_texts_alone(project, call, client, clip_folder, tmp_path):
    alone = f"model.name=local-dir:{clip_folder} model.sides=[text]"
    figures, said = call("stage1", *project.train, *project.config("names"), "--overrides", alone)
    metrics = client.get_run(figures["run_id"]).data.metrics
    assert f"nothing fitted, the texts reach top-1 {metrics['zero_shot/text_top1']:.4f}\n" in said
    assert not {"zero_shot/alignment", "zero_shot/top1"} & set(metrics)
    table, _ = infer_table(project, call, figures["run_id"], "texts")
    assert ADDED in table.classes
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1, atol=1e-5)
    without_texts = tmp_path / "train.csv"
    pd.read_csv(project.shop.train_csv, dtype=str)[["id", "label"]].to_csv(without_texts, index=False)
    options = ["--csv", str(without_texts), *project.train[2:], *project.config("names"), "--overrides", alone]
    found = call("stage1", *options, fails=True)
    assert "model.sides: [text] compares texts with the classes' names, and no row has one" in found


@pytest.mark.parametrize(
    ("config", "overrides", "said"),
    [
        ("names", "train.epochs=3", "train.epochs: found 3, but it is for model.head=mlp, and model.head is zero-shot"),
        ("names", "model.kernels=[words]", 'model.kernels: found ["words"], but it is for model.head=kernel'),
        ("kernel", "data.classes_csv=a.csv", "but it is for model.head=zero-shot, and model.head is kernel"),
        ("names", "data.classes_csv=a.csv", "a.csv: no such file; give the table as data.classes_csv"),
    ],
)
def test_mistakes_are_named(project, call, config, overrides, said):
    assert said in call("stage1", *project.train, *project.config(config), "--overrides", overrides, fails=True)


def test_classes_can_not_be_added_to_a_trained_model(project, call, trained):
    options = ["--model", trained[0]["run_id"], "--overrides", "data.classes_csv=other.csv"]
    said = call("infer", *project.test, *options, fails=True)
    assert "data.classes_csv belongs to training, since a model keeps its classes; run stage1 with it" in said


def test_a_fusion_knows_the_added_class_by_the_run_that_added_it(project, call, client, trained, kernel, fused):
    names, both = trained[0]["run_id"], client.get_run(fused[0]["run_id"])
    tables = {run: read_table(artifact_path(client.get_run(run), "oof.parquet")) for run in (names, kernel)}
    table = read_table(artifact_path(both, "oof.parquet"))
    assert table.classes == tables[names].classes
    assert set(table.classes) - set(tables[kernel].classes) == {ADDED}
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1, atol=1e-5)
    column = table.classes.index(ADDED)
    np.testing.assert_allclose(table.probabilities[:, column], tables[names].probabilities[:, column], atol=1e-6)
    assert names in read_pool(both).runs
    assert f"stage1, zero-shot, {names[:12]}" in fused[1]
    alone = {run: infer_table(project, call, run, f"alone-{run}")[0] for run in (names, kernel)}
    pooled, _ = infer_table(project, call, fused[0]["run_id"], "fused")
    of_names = alone[names].probabilities[:, column]
    np.testing.assert_allclose(pooled.probabilities[:, column], of_names, atol=1e-5)
    meta = read_pool(both)
    both_count = min(meta.pool.weights) > 0 and len(meta.runs) == 2
    known = [position for position, name in enumerate(table.classes) if name != ADDED]
    weights = np.array(meta.pool.weights)[:, None] + (np.array(meta.pool.by_class)[:, known] if both_count else 0)
    logs = np.zeros((len(pooled), len(known)))
    for run, weight in zip(meta.runs, weights, strict=True):
        said = alone[run].probabilities[:, known if run == names else slice(None)].astype(np.float64)
        logs += weight * np.log(np.maximum(said / said.sum(axis=1, keepdims=True), 1e-6))
    straight = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    expected = Pool((1.0,), curve=meta.pool.curve).combine([straight]) * (1 - of_names[:, None])
    np.testing.assert_allclose(pooled.probabilities[:, known], expected, atol=1e-4)
    assert project.accuracy(pooled, [ADDED]) > 0.3
    # what it wins there it may lose elsewhere, but for a row or two of 72
    assert project.accuracy(pooled) > project.accuracy(alone[kernel]) - 0.03


def test_such_a_fusion_is_registered_and_served(project, call, client, kernel, fused):
    call("register", "--runs", kernel, "--name", "wide")
    figures, _ = call("register", "--runs", fused[0]["run_id"], "--name", "wide", "--force", "true")
    assert figures["verdict"] == "champion"
    table, _ = infer_table(project, call, "models:/wide@champion", "wide")
    direct, _ = infer_table(project, call, fused[0]["run_id"], "wide-direct")
    np.testing.assert_allclose(table.probabilities, direct.probabilities, atol=1e-6)
    served = mlflow.pyfunc.load_model("models:/wide@champion")
    found = served.predict(project.frame(), params={"top_k": len(table.classes)})
    np.testing.assert_allclose(matrix(found, list(table.classes)), table.probabilities, atol=1e-5)
    loaded = mmclf.load("models:/wide@champion")
    assert ADDED in loaded.classes
    assert (
        loaded.evaluate(project.shop.test_csv, labels=project.shop.labels_csv, images=project.shop.images)["top1"] > 0
    )
    card = client.get_model_version_by_alias("wide", "champion").description
    assert "member: stage1, zero-shot" in card
    assert re.search(rf"{ADDED}\W.*none, known by its name", card)


def test_runs_that_add_different_classes_are_not_mixed(project, call, client, trained, kernel):
    other = project.folder / "other.csv"
    other.write_text("label,name\nc1,mug\nc2,chair\nlamp,lamp\n")
    config = [*project.config("names"), "--overrides", f"data.classes_csv={other}"]
    run_id = call("stage1", *project.train, *config)[0]["run_id"]
    said = call("ensemble", "--runs", f"{trained[0]['run_id']},{run_id}", fails=True)
    assert f"run {run_id} adds the classes 'lamp', and run {trained[0]['run_id']} others" in said
    said = call("infer", *project.test, "--model", f"{trained[0]['run_id']},{kernel}", fails=True)
    assert f"know different classes ('{ADDED}'), so they can't be averaged" in said


def test_fit_takes_it_in_where_the_towers_are_aligned(project, call):
    """And the added classes, which only the fusion knows, are in what is registered."""
    data = " ".join(f"data.{key}={value}" for key, value in project.tree["data"].items())
    shared = f"model.name=local-dir:{project.clip} train.folds=2 {data} data.classes_csv={project.shop.classes_csv}"
    figures, said = call("fit", *project.train, "--overrides", shared, "--name", "all")
    assert figures["members"] == 3
    assert "\nzero-shot head " in said
    model = mmclf.load("models:/all@champion")
    assert ADDED in model.classes


def test_fit_compares_texts_alone_where_they_are_not(project, call, tmp_path):
    dual = make_dual(tmp_path / "dual")
    shared = f"model.name=local-dir:{dual} train.folds=2 data.img_size={SIZE} data.max_len=16"
    named = f"{shared} data.classes_csv={project.shop.classes_csv}"
    figures, said = call("fit", *project.train, "--overrides", named, "--name", "unaligned")
    assert figures["members"] == 3
    assert "fit: model.name: the towers of " in said
    assert "so it compares texts alone with the classes' names" in said
    assert ADDED in mmclf.load("models:/unaligned@champion").classes


def test_fit_leaves_it_out_where_there_is_nothing_to_compare(project, call, clip_folder, tmp_path):
    table = tmp_path / "train.csv"
    pd.read_csv(project.shop.train_csv, dtype=str)[["id", "label"]].to_csv(table, index=False)
    shared = f"model.name=local-dir:{clip_folder} train.folds=2 data.img_size={SIZE} data.max_len=16"
    options = ["--csv", str(table), *project.train[2:], "--name", "wordless", "--overrides"]
    figures, said = call("fit", *options, shared)
    assert figures["members"] == 2
    assert "fit: the zero-shot head is left out: model.sides: [text] compares texts with the classes' names" in said
    named = f"{shared} data.classes_csv={project.shop.classes_csv}"
    assert "and no row has one" in call("fit", *options, named, fails=True)
