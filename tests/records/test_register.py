"""register, and what is registered: infer by models:/, load_model, REST and `mlflow models predict`.

.venv/bin/python -m pytest tests/records/test_register.py
"""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from entrypoints import infer, register, stage1
from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.evaluation.probabilities import read_table
from tests.serving import Server, as_json, matrix, without_checkout
from tests.stages import write_tree
from tests.stores import mlflow_store

ENTRY_POINTS = {"stage1": stage1, "register": register, "infer": infer}


class Store:
    """An MLflow store with a good and a poor run of stage 1, and the entry points called on it."""

    def __init__(self, folder: Path, shop, tree) -> None:
        self.folder, self.shop = folder, shop
        write_tree(folder / "stage1.yaml", "stage1", tree)
        self.client = MlflowClient()
        self.good = self.train("train.epochs=12 train.early_stop_patience=12 train.lrs.head=1e-2")
        self.poor = self.train("train.epochs=1 train.lrs.head=1e-9")
        self.other_folds = self.train("train.epochs=1 train.seed=1")

    def call(self, entry_point: str, *options: str) -> dict:
        code, out, err = self.try_(entry_point, *options)
        assert code == 0, err
        return json.loads(out)

    def refuse(self, entry_point: str, *options: str) -> str:
        code, out, err = self.try_(entry_point, *options)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        return err[err.index("error: ") :]

    def try_(self, entry_point: str, *options: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = ENTRY_POINTS[entry_point].main(list(options))
        self.said = err.getvalue()
        return code, out.getvalue(), self.said

    def train(self, overrides: str) -> str:
        data = ["--csv", str(self.shop.train_csv), "--images", str(self.shop.images)]
        config = ["--config", str(self.folder / "stage1.yaml"), "--overrides", overrides]
        return str(self.call("stage1", *data, *config)["run_id"])

    def infer(self, *options: str) -> np.ndarray:
        """Probabilities of the test rows."""
        data = ["--csv", str(self.shop.test_csv), "--images", str(self.shop.images), "--out", str(self.folder / "out")]
        self.call("infer", *data, *options)
        return read_table(self.folder / "out" / "probabilities.parquet").probabilities

    def alias(self, name: str) -> str:
        return str(self.client.get_model_version_by_alias("mmclf", name).version)


@pytest.fixture(scope="module")
def store(tmp_path_factory, shop, tree):
    folder = tmp_path_factory.mktemp("store")
    with mlflow_store(folder):
        yield Store(folder, shop, tree)


@pytest.fixture(scope="module")
def champion(store) -> dict:
    """The good run, registered."""
    return store.call("register", "--runs", f"{store.good},{store.poor}")


@pytest.fixture(scope="module")
def frame(store) -> pd.DataFrame:
    """The test rows as a client sends them."""
    catalog = read_catalog(store.shop.test_csv, store.shop.images, DataConfig(), training=False)
    table = pd.read_csv(store.shop.test_csv, dtype=str, keep_default_na=False)
    pictures = [(catalog.image_root / names[0]).read_bytes() if names else None for names in catalog.rows.pictures]
    return table[["title", "description"]].assign(image=pictures)


def test_the_best_run_becomes_the_champion_with_its_card(store, champion):
    assert champion["run_id"] == store.good
    assert champion["verdict"] == "champion"
    version = store.client.get_model_version_by_alias("mmclf", "champion")
    assert version.tags["source_run"] == store.good
    assert version.tags["verdict"] == "the first champion"
    card = version.description
    run = store.client.get_run(store.good)
    classes = pd.read_csv(store.shop.train_csv, dtype=str)["categories"].value_counts()
    for said in (
        f"{run.data.metrics['cv/top1_mean']:.4f} ±",
        run.data.tags["fingerprint"],
        run.data.tags["split"],
        store.good,
        "licence: not stated in its folder",
        "models:/mmclf@champion",
        *(f"| {name}&emsp; | {count}&emsp; |" for name, count in classes.items()),
    ):
        assert said in card
    report = f"#/experiments/{run.info.experiment_id}/runs/{store.good}/artifacts/report.html"
    assert re.findall(r"\]\((.*?)\)", card) == [report]
    assert str(store.folder) not in card


def test_the_runs_stand_in_a_table(store, champion):
    store.call("register", "--runs", f"{store.good},{store.poor}")
    lines = store.said.splitlines()
    header = lines[0].split("  ")
    assert [name.strip() for name in header if name.strip()] == [
        "run", "stage", "head", "backbone", "CV top-1", "top-3", "macro-F1", "calibration error", "size", "s/row",
    ]  # fmt: skip
    assert lines[1].startswith(store.good[:12])
    assert lines[1].endswith("best")
    assert lines[2].startswith(store.poor[:12])
    assert "is mmclf version 1 already, the champion" in store.said
    assert len(store.client.search_model_versions("name = 'mmclf'")) == 1


def test_without_run_ids_runs_on_other_folds_are_left_out(store, champion):
    """The newest run decides which data and folds are meant."""
    error = store.refuse("register")
    assert (
        f"note: run {store.good} (stage1) is left out: other data or folds than run {store.other_folds}" in store.said
    )
    assert f"run {store.other_folds} can't be compared with the champion, version 1: it was trained on other" in error
    assert "--force true" in error
    assert store.alias("champion") == "1"


def test_named_runs_on_other_folds_are_refused(store, champion):
    error = store.refuse("register", "--runs", f"{store.good},{store.other_folds}")
    assert f"run {store.other_folds} (stage1) can't be registered beside the others: other data or folds" in error


def test_a_worse_run_is_registered_but_leaves_the_champion(store, champion):
    result = store.call("register", "--runs", store.poor)
    assert result["verdict"] == "registered without alias"
    assert store.alias("champion") == "1"
    version = store.client.get_model_version("mmclf", str(result["version"]))
    assert not version.aliases
    assert "not shown to be better, so version 1 stays champion" in version.tags["verdict"]
    assert "95% interval -" in version.tags["verdict"]

    forced = store.call("register", "--runs", store.poor, "--force", "true")
    assert forced["verdict"] == "champion"
    assert store.alias("champion") == str(forced["version"])
    assert store.alias("previous") == "1"

    # and the good one comes back by its figures alone
    again = store.call("register", "--runs", store.good)
    assert again["verdict"] == "champion"
    assert store.alias("champion") == str(again["version"])
    assert store.alias("previous") == str(forced["version"])
    assert "new champion" in store.client.get_model_version("mmclf", str(again["version"])).tags["verdict"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metric", "accuracy"], "--metric: found 'accuracy'; it should be one of cv/top1_mean"),
        (["--force", "yes"], "--force: found 'yes'; give `true` or `false`"),
        (["--folds", "7"], "has no finished fold 7"),
        (["--folds", "x"], "--folds: found 'x'; give `all` or the number of a fold"),
        (["--runs", "nonsense"], "run 'nonsense': not in the store"),
        (["--overrides", "train.epochs=3"], "train.epochs belongs to training"),
        (["--name", "a/b"], "--name: 'a/b'"),
    ],
)
def test_mistakes_are_named(store, champion, options, said):
    options = options if "--runs" in options else ["--runs", store.good, *options]
    assert said in store.refuse("register", *options)


def test_infer_takes_the_champion_by_default_and_equals_the_run(store, champion):
    from_run = store.infer("--model", store.good)
    np.testing.assert_array_equal(store.infer("--model", "models:/mmclf/1"), from_run)
    store.client.set_registered_model_alias("mmclf", "champion", "1")
    np.testing.assert_array_equal(store.infer(), from_run)
    assert "infer: folds 0, 1 of mmclf version 1" in store.said
    one = store.infer("--model", "models:/mmclf/1", "--fold", "1")
    assert "infer: fold 1 of mmclf version 1" in store.said
    assert np.abs(one - from_run).max() > 1e-4


def test_several_models_are_averaged(store, champion):
    good, poor = store.infer("--model", store.good), store.infer("--model", store.poor)
    both = store.infer("--model", f"models:/mmclf/1,{store.poor}")
    np.testing.assert_allclose(both, (good + poor) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("models:/nobody@champion", "models:/nobody@champion: not in the registry"),
        ("models:/mmclf/99", "models:/mmclf/99: not in the registry"),
        ("models:/mmclf", "give an alias or a version, models:/mmclf@champion"),
        ("models:/mmclf/1,models:/mmclf/1", "a model is named twice"),
        ("nonsense", "run 'nonsense': not in the store"),
    ],
)
def test_models_that_are_not_there_are_named(store, champion, model, said):
    data = ["--csv", str(store.shop.test_csv), "--images", str(store.shop.images)]
    assert said in store.refuse("infer", *data, "--model", model)


def test_one_fold_can_be_registered(store, champion):
    result = store.call("register", "--runs", store.good, "--folds", "1", "--name", "single")
    version = store.client.get_model_version("single", "1")
    assert version.tags["folds"] == "1"
    expected = store.infer("--model", store.good, "--fold", "1")
    np.testing.assert_array_equal(store.infer("--model", result["model"]), expected)


# the model without the checkout


def model_folder(store) -> Path:
    version = store.client.get_model_version("mmclf", "1")
    model = store.client.get_logged_model(version.source.removeprefix("models:/"))
    return Path(model.artifact_location.removeprefix("file://"))


SCRIPT = """
import sys
sys.path[:] = [p for p in sys.path if "__editable__" not in p and p != sys.argv[3]]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.read_parquet(sys.argv[2])
found = model.predict(frame, params={"top_k": 1000})
found.to_parquet("found.parquet")
assert sys.modules["mmclf"].__file__.startswith(sys.argv[1]), sys.modules["mmclf"].__file__
assert len(model.predict(frame.iloc[:0])) == 0
try:
    model.predict(frame.assign(image=b"none"))
except mlflow.exceptions.MlflowException as error:
    print(error.get_http_status_code(), error.message)
"""


def test_a_copy_of_the_model_folder_is_all_it_takes(store, champion, frame, tmp_path):
    copied = shutil.copytree(model_folder(store), tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    assert not [p for p in copied.rglob("*") if p.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    frame.to_parquet(tmp_path / "frame.parquet")
    project = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", SCRIPT, str(copied), str(tmp_path / "frame.parquet"), project]
    done = subprocess.run(command, cwd=tmp_path, env=without_checkout(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"400 {len(frame)} rows of {len(frame)} can't be scored")
    found = pd.read_parquet(tmp_path / "found.parquet")
    expected = store.infer("--model", store.good)
    classes = sorted(set(found["label"]) | {label for row in found["top_labels"] for label in row})
    np.testing.assert_allclose(matrix(found, classes), expected, atol=1e-5)
    assert list(found["label"]) == [row[0] for row in found["top_labels"]]
    assert list(found["confidence"]) == [row[0] for row in found["top_confidences"]]


def test_the_model_names_its_requirements_exactly(store, champion):
    lines = (model_folder(store) / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in lines)
    assert {"torch", "open_clip_torch", "mlflow", "safetensors"} <= {line.partition("==")[0] for line in lines}
    signature = mlflow.models.get_model_info("models:/mmclf/1").signature
    assert [spec.name for spec in signature.inputs][:4] == ["title", "description", "image", "image_2"]
    assert not any(spec.required for spec in signature.inputs)
    assert [spec.name for spec in signature.outputs] == ["label", "confidence", "top_labels", "top_confidences"]
    assert {spec.name for spec in signature.params} == {"top_k", "tta", "batch_size", "errors", "precision"}


@pytest.fixture(scope="module")
def server(store, champion, tmp_path_factory):
    folder = shutil.copytree(model_folder(store), tmp_path_factory.mktemp("served") / "model")
    made = Server(folder)
    yield made
    made.stop()


def test_rest_and_models_predict_agree_with_infer(store, champion, frame, server, tmp_path):
    expected = store.infer("--model", store.good)
    records = as_json(frame)
    assert any(record["image"] is None for record in records)  # rows with and without a picture together
    body = {"dataframe_records": records, "params": {"top_k": 1000}}
    status, text = server.post(body)
    assert status == 200, text
    answers = {"REST": text}
    (tmp_path / "in.json").write_text(json.dumps(body))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(model_folder(store))]
    done = subprocess.run(
        [*command, "--env-manager", "local", "-i", str(tmp_path / "in.json"), "-o", str(tmp_path / "out.json")],
        env=without_checkout(), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers["predict"] = (tmp_path / "out.json").read_text()
    for name, answer in answers.items():
        found = pd.DataFrame(json.loads(answer)["predictions"])
        classes = sorted({label for row in found["top_labels"] for label in row})
        np.testing.assert_allclose(matrix(found, classes), expected, atol=1e-5, err_msg=name)


GOOD = {"title": "a red circle"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"dataframe_records": [GOOD, {"image": "bm8gcGljdHVyZQ=="}]}, "row 2: image: cannot identify image file"),
        ({"dataframe_records": [GOOD, {"image": "http://127.0.0.1/x"}]}, "row 2: image: is not base64"),
        ({"dataframe_records": [{"image": "/etc/hostname"}]}, "row 1: image: "),
        ({"dataframe_records": [GOOD, {"title": 5}]}, "row 2: title: found 5, but it should be a text"),
        ({"dataframe_records": [{"title": 5}]}, "row 1: title: found 5, but it should be a text"),
        ({"dataframe_records": [GOOD, {"image": {"url": "x"}}]}, "row 2: image: found dict"),
        ({"dataframe_records": [{"Title": "x"}]}, "none of the columns title, description, image"),
        ({"dataframe_records": [GOOD], "params": {"top_k": 0}}, "params: top_k: found 0"),
        ({"dataframe_records": [GOOD], "params": {"errors": "no"}}, "params: errors: found 'no'"),
        ({"dataframe_records": "x"}, "must be a list of records"),
        ({"dataframe_records": [GOOD], "params": {"top_k": None}}, "params: top_k: found null"),
        ({"dataframe_records": [GOOD], "params": {"topk": 3}}, "params: topk: no such parameter"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"{", "valid JSON"),
    ],
)
def test_a_request_that_is_wrong_is_told_so(server, body, said):
    status, text = server.post(body)
    assert status == 400
    assert said in json.loads(text)["message"]
    assert "Traceback" not in text
    assert "stack_trace" not in text


def test_every_json_format_and_csv_is_understood(server):
    picture = {"title": None, "image": ""}
    for body in (
        {"dataframe_records": [GOOD, picture]},
        {"dataframe_split": {"columns": ["title", "image"], "data": [["a red circle", None], [None, ""]]}},
        {"inputs": [GOOD, {"title": ""}]},
        {"instances": [GOOD | {"image": None}, picture]},
        {"dataframe_records": [GOOD, {"image": "!"}], "params": {"errors": "column"}},
    ):
        status, text = server.post(body)
        assert status == 200, text
        assert len(json.loads(text, parse_constant=pytest.fail)["predictions"]) == 2
    assert json.loads(text)["predictions"][1]["error"].startswith("row 2: image: is not base64")
    assert server.post({"dataframe_split": {"columns": ["title"], "data": []}}) == (200, '{"predictions": []}')
    status, text = server.post(b"title,description\na red circle,\n", "text/csv")
    assert status == 200, text
