"""`import mmclf` in a notebook: the same runs as from the command line, and a model that takes pictures of any kind.

.venv/bin/python -m pytest tests/workflows/test_python.py
"""

import base64
import contextlib
import io
import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import f1_score

import mmclf
from entrypoints import stage1 as entry_point
from mmclf.config import build_config
from tests.stages import tree_of, write_tree
from tests.stores import mlflow_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with mlflow_store(tmp_path_factory.mktemp("python")) as made:
        yield made


@pytest.fixture(scope="module")
def table(shop) -> pd.DataFrame:
    return pd.read_csv(shop.train_csv, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def trained(folder, shop, table, tree):
    """A stage 1 on a data frame."""
    return mmclf.stage1(table, images=shop.images, config=tree_of("stage1", tree), overrides={"train.epochs": 4})


@pytest.fixture(scope="module")
def model(trained):
    registered = mmclf.register(runs=[trained.run_id])
    assert registered.model == "models:/mmclf/1"
    assert registered.figures["verdict"] == "champion"
    return mmclf.load("models:/mmclf@champion")


@pytest.fixture(scope="module")
def frame(shop) -> pd.DataFrame:
    """The test rows with the names of their pictures."""
    test = pd.read_csv(shop.test_csv, dtype=str, keep_default_na=False)
    names = sorted(path.name for path in shop.images.iterdir())
    first = [next((n for n in names if n.startswith((f"{i}.", f"{i}_1."))), None) for i in test["id"]]
    return test[["title", "description"]].assign(image=first)


# training


def test_a_data_frame_trains_like_the_csv_to_the_bit(folder, shop, tree, trained):
    config = write_tree(folder / "stage1.yaml", "stage1", tree)
    options = ["--csv", str(shop.train_csv), "--images", str(shop.images), "--config", str(config)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert entry_point.main([*options, "--overrides", "train.epochs=4"]) == 0
    printed = json.loads(out.getvalue())
    # as a Config, with its changes in it
    again = mmclf.stage1(shop.train_csv, images=str(shop.images), config=build_config(tree_of("stage1", tree)),
                         overrides="train.epochs=4")  # fmt: skip
    client = mlflow.MlflowClient()
    by_command = pd.read_parquet(
        mlflow.artifacts.download_artifacts(run_id=printed["run_id"], artifact_path="oof.parquet", dst_path=str(folder))
    )
    pd.testing.assert_frame_equal(trained.out_of_fold, by_command, check_exact=True)
    pd.testing.assert_frame_equal(trained.out_of_fold, again.out_of_fold, check_exact=True)
    same = set(printed) - {"run_id", "seconds"}
    assert {key: printed[key] for key in same} == {key: trained.figures[key] for key in same}
    runs = [client.get_run(run_id).data.tags for run_id in (trained.run_id, printed["run_id"])]
    for tag in ("split", "fingerprint", "config_id", "weights_sha256"):
        assert runs[0][tag] == runs[1][tag]
    assert "csv" not in runs[0]
    assert runs[1]["csv"] == str(shop.train_csv)


def test_stage_2_after_a_data_frame_wants_the_table(trained, shop, table, tree):
    settings = {"config": tree_of("stage2", tree), "overrides": {"train.epochs": 1}, "stage1_run": trained.run_id}
    with pytest.raises(mmclf.MmclfError, match="was trained on a data frame, which no run keeps; give stage 2 the tab"):
        mmclf.stage2(**settings)
    found = mmclf.stage2(table, **settings)  # the pictures are those of the stage 1
    assert list(found.out_of_fold["id"]) == list(table["id"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"overrides": {"train.epoch": 3}}, "did you mean train.epochs"),
        ({"overrides": {3: 3}}, "overrides: 3 is not a key"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml: no such file"),
        ({"config": {"train": {}}}, "train.epochs: missing"),
        ({"fold": 9}, "there is no fold 9"),
        ({"table": pd.DataFrame({"sku": ["a"]})}, "no id column"),
        ({"table": "s3://shop/a.csv"}, "only `batch` reads such addresses"),
    ],
)
def test_a_mistake_is_one_sentence(trained, shop, table, tree, change, said):
    given = {"table": table, "images": shop.images, "config": tree_of("stage1", tree)} | change
    with pytest.raises(mmclf.MmclfError) as caught:
        mmclf.stage1(given.pop("table"), **given)
    assert said in str(caught.value)
    assert mlflow.active_run() is None


def test_the_shipped_configurations_are_found_from_anywhere(folder, shop, table):
    with pytest.raises(mmclf.MmclfError, match=r"configs/stage1\.yaml: model\.clip_trainable is true"):
        mmclf.stage1(table, images=shop.images, overrides="model.clip_trainable=true")


def test_a_run_of_somebody_else_is_left_alone(trained, shop, table, tree):
    with (
        mlflow.start_run() as theirs,
        pytest.raises(mmclf.MmclfError, match=f"run {theirs.info.run_id} is active here; end it first"),
    ):
        mmclf.stage1(table, images=shop.images, config=tree_of("stage1", tree))


# scoring


def test_infer_gives_its_tables(model, shop):
    test = pd.read_csv(shop.test_csv, dtype=str, keep_default_na=False)
    run = mmclf.infer(test, images=shop.images)
    assert list(run.predictions.columns) == ["id", "label"]
    assert list(run.predictions["id"]) == list(test["id"])
    probabilities = run.probabilities
    assert list(probabilities.columns) == ["id", *model.classes]
    assert list(probabilities[list(model.classes)].idxmax(axis=1)) == list(run.predictions["label"])
    both = mmclf.ensemble(runs=[run.run_id])
    pd.testing.assert_frame_equal(both.probabilities, probabilities)


def test_a_table_too_large_for_the_cache_reads_it_and_adds_nothing(trained, shop, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MMCLF_CACHE_DIR", str(tmp_path / "cache"))
    small = {"images": shop.images, "model": trained.run_id}
    monkeypatch.setenv("MMCLF_CACHE_GIB", "0.00001")
    alone = mmclf.infer(shop.test_csv, **small)
    assert f"the features of {shop.test_rows} rows would take" in capsys.readouterr().err
    assert not list((tmp_path / "cache").glob("features/**/*.safetensors"))
    monkeypatch.setenv("MMCLF_CACHE_GIB", "1")
    kept = mmclf.infer(shop.test_csv, **small)
    assert list((tmp_path / "cache").glob("features/**/*.safetensors"))
    assert kept.probabilities.equals(alone.probabilities)


def pixels(path) -> Image.Image:
    return Image.open(path).convert("RGB")


KINDS = {
    "bytes": lambda path: path.read_bytes(),
    "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
    "PIL": pixels,
    "array": lambda path: np.asarray(pixels(path)),
    "list": lambda path: [path.read_bytes()],
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind_are_taken(model, shop, frame, kind):
    expected = model.predict(frame, images=shop.images, top_k=1000)
    pictures = [KINDS[kind](shop.images / name) if isinstance(name, str) else None for name in frame["image"]]
    given = frame.assign(image=pd.Series(pictures, dtype=object))
    found = model.predict(given, top_k=1000)
    assert list(found["label"]) == list(expected["label"])
    # pixels of a JPEG that was decoded elsewhere may differ by rounding
    tolerance = 1e-6 if kind in ("bytes", "base64", "list") else 0.05
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=tolerance)


def test_predict_agrees_with_infer(model, shop, frame):
    run = mmclf.infer(shop.test_csv, images=shop.images, model="models:/mmclf/1")
    found = model.predict(frame, images=shop.images, top_k=1)
    assert list(found["label"]) == list(run.predictions["label"])
    np.testing.assert_allclose(found["confidence"], run.probabilities[list(model.classes)].max(axis=1), atol=1e-5)
    assert [len(labels) for labels in found["top_labels"]] == [1] * len(frame)
    shuffled = frame.iloc[::-1]
    assert list(model.predict(shuffled, images=shop.images).index) == list(shuffled.index)


def test_how_it_scores_can_be_chosen(model, shop, frame):
    flipped, plain = (model.predict(frame, images=shop.images, tta=tta) for tta in (True, False))
    assert np.abs(flipped["confidence"] - plain["confidence"]).max() > 1e-6
    small = model.predict(frame, images=shop.images, batch_size=2)
    np.testing.assert_allclose(small["confidence"], flipped["confidence"], atol=1e-5)
    one = mmclf.load("models:/mmclf@champion", fold=1)
    assert repr(one) == f"<mmclf model: fold 1 of mmclf version 1, {len(model.classes)} classes>"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("../catalog/train.csv", "row 2: image: '../catalog/train.csv' leads out of"),
        ("/etc/hostname", "row 2: image: '/etc/hostname' leads out of"),
        ("none.jpg", "row 2: image: 'none.jpg' can't be read from"),
        (np.zeros((4, 4)), "row 2: image: found an array float64 (4, 4)"),
        (b"no picture", "row 2: image: cannot identify image file"),
    ],
    ids=["out", "absolute", "missing", "array", "bytes"],
)
def test_a_picture_that_cannot_be_used_is_named(model, shop, cell, said):
    given = pd.DataFrame({"title": ["a red circle"] * 2, "image": pd.Series([None, cell], dtype=object)})
    with pytest.raises(mmclf.MmclfError) as caught:
        model.predict(given, images=shop.images)
    assert said in str(caught.value)


def test_a_path_needs_its_folder(model, shop, frame):
    [name, *_] = [name for name in frame["image"] if isinstance(name, str)]
    given = pd.DataFrame({"image": pd.Series([shop.images / name], dtype=object)})
    with pytest.raises(mmclf.MmclfError, match="name the folder that it is in by `images`"):
        model.predict(given)
    assert len(model.predict(given, images=shop.images)) == 1


def test_evaluate_equals_infer(model, shop):
    labels = pd.read_csv(shop.test_labels_csv, dtype=str, keep_default_na=False)
    found = model.evaluate(shop.test_csv, labels=shop.test_labels_csv, images=shop.images)
    run = mmclf.infer(shop.test_csv, images=shop.images, model="models:/mmclf/1")
    truth = labels.set_index("id")["categories"].reindex(run.predictions["id"]).to_numpy()
    assert set(found) == {"rows", "top1", "top3", "macro_f1", "calibration_error"}
    assert found["rows"] == len(truth)
    assert found["top1"] == pytest.approx((run.predictions["label"] == truth).mean())
    assert found["macro_f1"] == pytest.approx(f1_score(truth, run.predictions["label"], average="macro"))
    assert found["top1"] <= found["top3"] <= 1
    # a frame with the labels in it, in another order
    whole = pd.read_csv(shop.test_csv, dtype=str, keep_default_na=False).merge(labels, on="id").iloc[::-1]
    again = model.evaluate(whole, images=shop.images)
    assert again == pytest.approx(found, abs=1e-6)


def test_a_row_without_a_known_label_is_named(model, shop):
    labels = pd.read_csv(shop.test_labels_csv, dtype=str, keep_default_na=False)
    with pytest.raises(mmclf.MmclfError, match=f"no label for id {labels['id'].iloc[0]!r}".replace("(", r"\(")):
        model.evaluate(shop.test_csv, labels=labels.iloc[1:], images=shop.images)
    with pytest.raises(mmclf.MmclfError, match="doesn't know the label 'Something'"):
        model.evaluate(shop.test_csv, labels=labels.assign(categories="Something"), images=shop.images)
    with pytest.raises(mmclf.MmclfError, match="needs the columns 'id' and 'categories'"):
        model.evaluate(shop.test_csv, images=shop.images)


@pytest.mark.parametrize("name", ["models:/nobody@champion", "nonsense", "a,b"])
def test_a_model_that_is_not_there_is_named(model, name):
    with pytest.raises(mmclf.MmclfError, match=name.partition("@")[0]):
        mmclf.load(name)
