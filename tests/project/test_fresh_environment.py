"""The demo's champion, its folder alone, in a new virtual environment made from its own requirements.

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

from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.evaluation.probabilities import read_table

PROJECT = Path(__file__).resolve().parents[2]
STORE, PREDICTIONS = PROJECT / "mlflow.db", PROJECT / "demo" / "predictions" / "probabilities.parquet"

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


def test_the_model_folder_and_its_requirements_are_all_it_takes(tmp_path):
    client = MlflowClient(f"sqlite:///{STORE}")
    name = next(m.name for m in client.search_registered_models() if m.aliases and m.name.startswith("mmclf"))
    version = client.get_model_version_by_alias(name, "champion")
    stored = client.get_logged_model(version.source.removeprefix("models:/")).artifact_location
    stored = Path(stored.removeprefix("file://"))
    copied = shutil.copytree(PROJECT / stored, tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__"))

    catalog = read_catalog(
        PROJECT / "demo" / "catalog" / "test.csv", PROJECT / "demo" / "catalog" / "images", DataConfig(), training=False
    )
    table = pd.read_csv(catalog.table_path, dtype=str, keep_default_na=False)
    pictures = [(catalog.image_root / names[0]).read_bytes() if names else None for names in catalog.rows.pictures]
    table[["title", "description"]].assign(image=pictures).to_parquet(tmp_path / "frame.parquet")

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    hidden = ("MLFLOW_", "PYTHONPATH", "MMCLF_", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {"HF_HUB_OFFLINE": "1"}
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
    subprocess.run([*install, str(copied / "requirements.txt")], check=True, env=environment, cwd=tmp_path)
    done = subprocess.run(
        [str(python), "-c", SCRIPT, str(copied)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(copied))

    expected = read_table(PREDICTIONS)
    found = pd.read_parquet(tmp_path / "found.parquet")
    position = {label: column for column, label in enumerate(expected.classes)}
    ours = np.zeros_like(expected.probabilities)
    for row, (labels, confidences) in enumerate(zip(found["top_labels"], found["top_confidences"], strict=True)):
        ours[row, [position[label] for label in labels]] = confidences
    np.testing.assert_allclose(ours, expected.probabilities, atol=1e-5)
