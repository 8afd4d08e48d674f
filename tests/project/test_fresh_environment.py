"""Registered models, their folders alone, in a new virtual environment made from their own requirements.

.venv/bin/python -m pytest -m slow tests/project/test_fresh_environment.py

Needs the store that `make demo` leaves, and a package index: some minutes for torch.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

import mmclf
from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.evaluation.probabilities import read_table
from tests.serving import matrix
from tests.stores import mlflow_store

PROJECT = Path(__file__).resolve().parents[2]
DEMO, STORE = PROJECT / "demo-output", PROJECT / "mlflow.db"
PREDICTIONS = DEMO / "predictions" / "probabilities.parquet"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PREDICTIONS.is_file(), reason="no predictions of the demo: run `make demo` first"),
]

SCRIPT = """
import sys, time
import mlflow, pandas as pd
start = time.perf_counter()
model = mlflow.pyfunc.load_model(sys.argv[1])
model.predict(pd.read_parquet("frame.parquet"), params={"top_k": 1000}).to_parquet("found.parquet")
print(sys.modules["mmclf"].__file__)
"""


def demo_champion(folder: Path) -> tuple[Path, np.ndarray, list[str]]:
    """A copy of the demo's champion, fine-tuned towers with MLP heads, and what infer said of the test rows."""
    client = MlflowClient(f"sqlite:///{STORE}")
    name = next(m.name for m in client.search_registered_models() if m.aliases and m.name.startswith("mmclf"))
    version = client.get_model_version_by_alias(name, "champion")
    stored = client.get_logged_model(version.source.removeprefix("models:/")).artifact_location
    table = read_table(PREDICTIONS)
    return copy_model(PROJECT / stored.removeprefix("file://"), folder), table.probabilities, list(table.classes)


def fused_champion(folder: Path) -> tuple[Path, np.ndarray, list[str]]:
    """The same of a fusion that `fit` makes on the demo's tiny CLIP: zero-shot, kernel and MLP heads."""
    overrides = {"model.name": f"local-dir:{DEMO / 'tiny-clip'}", "model.pretrained": None}
    # the frame below has one picture a row
    overrides |= {"data.img_size": 64, "data.max_len": 32, "data.multi_image_mode": "first", "train.folds": 2}
    images = DEMO / "catalog" / "images"
    with mlflow_store(folder):
        mmclf.fit(DEMO / "catalog" / "train.csv", images=images, overrides=overrides)
        client = MlflowClient()
        (fusion,) = client.search_runs(["0"], "tags.stage = 'fusion'")
        registration = mmclf.register(runs=[fusion.info.run_id], name="fused")
        found = mmclf.infer(DEMO / "catalog" / "test.csv", images=images, model=registration.model).probabilities
        uri = client.get_model_version_download_uri("fused", registration.model.rpartition("/")[2])
    classes = [str(name) for name in found.columns[1:]]
    model = copy_model(Path(uri.removeprefix("file://")), folder)
    assert len(list(model.rglob("expert-*"))) > 1
    return model, found[classes].to_numpy(), classes


def copy_model(stored: Path, folder: Path) -> Path:
    return shutil.copytree(stored, folder / "model", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_model_folder_and_its_requirements_are_all_it_takes(tmp_path):
    models = {}
    for make in (demo_champion, fused_champion):
        folder = tmp_path / make.__name__
        folder.mkdir()
        models[make.__name__] = make(folder)
    catalog = read_catalog(DEMO / "catalog" / "test.csv", DEMO / "catalog" / "images", DataConfig(), training=False)
    table = pd.read_csv(catalog.table_path, dtype=str, keep_default_na=False)
    pictures = [(catalog.image_root / names[0]).read_bytes() if names else None for names in catalog.rows.pictures]
    table[["title", "description"]].assign(image=pictures).to_parquet(tmp_path / "frame.parquet")

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    hidden = ("MLFLOW_", "PYTHONPATH", "MMCLF_", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {"HF_HUB_OFFLINE": "1"}
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    requirements = [str(model / "requirements.txt") for model, _, _ in models.values()]
    assert len({Path(path).read_text() for path in requirements}) == 1
    subprocess.run([*install, "-r", requirements[0]], check=True, env=environment, cwd=tmp_path)
    for name, (model, expected, classes) in models.items():
        done = subprocess.run(
            [str(python), "-c", SCRIPT, str(model)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().startswith(str(model))
        found = matrix(pd.read_parquet(tmp_path / "found.parquet"), classes)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)
