"""The plain loop of the benchmark and mmclf compute the same.

.venv/bin/python -m pytest tests/benchmarks/test_plain_loop.py
"""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import plain_loop
from entrypoints import infer, stage1, stage2
from mmclf.evaluation.probabilities import read_table
from tests.conftest import SIZE
from tests.stores import mlflow_store


@pytest.fixture
def store(tmp_path):
    with mlflow_store(tmp_path):
        yield tmp_path


def read_json(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def artifact(store, run_id, name):
    (path,) = store.glob(f"mlruns/**/{run_id}/artifacts/{name}")
    return path


@pytest.fixture
def common(clip_folder):
    """What both are told: the overrides of mmclf, and the options of the plain loop."""
    described = json.loads((clip_folder / "open_clip_config.json").read_text(encoding="utf-8"))
    context = described["model_cfg"]["text_cfg"]["context_length"]
    overrides = (
        f"model.name=local-dir:{clip_folder} model.pretrained=null model.hidden_dim=32 data.img_size={SIZE} "
        f"data.max_len={context} train.folds=2 train.epochs=3 train.early_stop_patience=3 train.batch_size=16 "
        "train.amp=false train.lrs.head=1e-2 "
    )
    options = ["--model", f"local-dir:{clip_folder}", "--hidden-dim", "32", "--img-size", str(SIZE), "--no-amp"]
    return overrides, [*options, "--max-len", str(context), "--batch-size", "16"]


TRAINING = ["--folds", "2", "--epochs", "3", "--patience", "3", "--lr-head", "1e-2"]
CONFIGS = Path(stage1.__file__).parent.parent / "configs"


@pytest.mark.parametrize("views", ["null", "3"])
def test_both_stages_and_infer_agree_with_the_plain_loop(shop, common, store, capsys, views):
    """As many crops of each picture as epochs, in float32, dropout on."""
    overrides, options = common
    table = ["--csv", str(shop.train_csv), "--images", str(shop.images)]
    plain = {stage: store / f"plain-{stage}" for stage in ("stage1", "stage2")}

    command = ["--config", str(CONFIGS / "stage1.yaml"), "--overrides", f"{overrides} train.views={views}"]
    assert stage1.main([*table, *command]) == 0
    ours = read_json(capsys)
    assert plain_loop.main(["stage1", *table, *options, *TRAINING, "--out", str(plain["stage1"])]) == 0
    assert_same_folds(store, ours, read_json(capsys), plain["stage1"], tolerance=1e-5)

    test = ["--csv", str(shop.test_csv), "--images", str(shop.images)]
    assert infer.main([*test, "--model", ours["run_id"], "--out", str(store / "scored")]) == 0
    capsys.readouterr()
    assert plain_loop.main(["infer", *test, *options, "--models", str(plain["stage1"]), "--out", str(store)]) == 0
    scored = read_table(store / "scored" / "probabilities.parquet")
    reference = np.load(store / "probabilities.npz")
    assert scored.ids == reference["ids"].tolist()
    np.testing.assert_allclose(scored.probabilities, reference["probabilities"], atol=1e-5)

    if views == "null":
        rates = "train.lrs.image_encoder=1e-4 train.lrs.text_encoder=1e-4"
        command = ["--config", str(CONFIGS / "stage2.yaml"), "--overrides", f"{overrides} {rates}"]
        assert stage2.main([*table, *command]) == 0
        ours = read_json(capsys)
        rates = ["--lr-image", "1e-4", "--lr-text", "1e-4", "--init", str(plain["stage1"])]
        assert plain_loop.main(["stage2", *table, *options, *TRAINING, *rates, "--out", str(plain["stage2"])]) == 0
        # AdamW divides by the root of tiny squares, which carries rounding along
        assert_same_folds(store, ours, read_json(capsys), plain["stage2"], tolerance=2e-3)


def assert_same_folds(store, ours, theirs, folder, *, tolerance):
    assert ours["cv_top1_mean"] == pytest.approx(theirs["cv_top1"], abs=1e-12)
    matrix = read_table(artifact(store, ours["run_id"], "oof.parquet"))
    reference = np.load(folder / "oof.npz")
    assert matrix.ids == reference["ids"].tolist()
    np.testing.assert_array_equal(matrix.folds, reference["folds"])
    np.testing.assert_allclose(matrix.probabilities, reference["probabilities"], atol=tolerance)
