"""A bundle is a model in one folder: moved and with its origin gone, it scores as the checkpoints did.

.venv/bin/python -m pytest tests/scoring/test_bundle.py
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mmclf.config import build_config
from mmclf.errors import BackboneError, BundleError, CheckpointError
from mmclf.evaluation.pool import KNOTS, Pool
from mmclf.model.loading import load_backbone, save_backbone
from mmclf.scoring.bundle import open_bundle, write_bundle
from mmclf.scoring.fold_models import FoldModels, members_of
from mmclf.scoring.mixture import Expert, Mixture
from mmclf.scoring.predict import Scoring
from mmclf.store.files import size_of, write_header
from tests.checkpoints import FLOAT32, save
from tests.towers import make_dual

CPU = torch.device("cpu")


def score(catalog, checkpoints, config):
    models = FoldModels(members_of(checkpoints, config.data, config.infer), device=CPU, precision=FLOAT32)
    return np.concatenate([part for _, part in Scoring(catalog.rows, models, config.data, config.infer, quiet=True)])


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_bundle_scores_as_its_checkpoints_wherever_it_lies(stage, tree, clip_folder, catalog, tmp_path):
    origin = shutil.copytree(clip_folder, tmp_path / "clip")
    config = build_config({**tree, "model": {**tree["model"], "name": f"local-dir:{origin}"}})
    checkpoints = [save(tmp_path, config, catalog, fold, stage)[0] for fold in (0, 1)]
    expected = score(catalog, checkpoints, config)
    write_bundle(tmp_path / "bundle", Mixture.of(checkpoints, config), {"run": "1"})
    moved = shutil.move(tmp_path / "bundle", tmp_path / "elsewhere")
    for path in (origin, tmp_path / f"{stage}-0", tmp_path / f"{stage}-1"):
        shutil.rmtree(path)
    bundle = open_bundle(Path(moved))
    np.testing.assert_array_equal(score(catalog, bundle.checkpoints, bundle.config), expected)
    assert bundle.classes == catalog.classes
    assert bundle.text_cols == catalog.text_cols
    # JSON and safetensors alone, no weights twice, and no path of this machine
    names = {path.name for path in bundle.folder.rglob("*") if path.is_file()}
    assert names - {"bundle.json", "meta.json", "weights.safetensors", "open_clip_config.json"} == (
        {"open_clip_model.safetensors"} if stage == "stage1" else set()
    )
    for path in bundle.folder.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    assert size_of(bundle.folder) > sum(path.stat().st_size for path in bundle.folder.rglob("*.safetensors"))


def test_a_pool_comes_along_to_the_last_digit(tree, catalog, tmp_path):
    config = build_config(tree)
    experts = tuple(Expert((save(tmp_path, config, catalog, fold, "stage1")[0],), config) for fold in (0, 1))
    by_class = np.random.default_rng(0).normal(size=(2, len(catalog.classes))) / 10
    pool = Pool((0.7, 0.4), tuple(tuple(row) for row in by_class.tolist()), (0.1,) * len(KNOTS))
    write_bundle(tmp_path / "b", Mixture(experts, pool), {})
    bundle = open_bundle(tmp_path / "b")
    assert bundle.mixture.pool == pool
    one_weight = bundle.meta.model_copy(update={"pool": Pool((1.0,))})
    write_header(tmp_path / "b" / "bundle.json", one_weight)
    with pytest.raises(BundleError, match="pool: 1 weights for 2 experts"):
        open_bundle(tmp_path / "b")


def test_a_hugging_face_text_tower_and_its_tokenizer_come_along(tmp_path):
    """Its configuration is named by a path that is gone afterwards."""
    before = load_backbone(f"local-dir:{make_dual(tmp_path / 'hf')}", None, 64)
    save_backbone(before, tmp_path / "copy", weights=True)
    texts = ["a red shirt", "oak table"]
    ids = before.tokenize(texts, 16).input_ids
    expected = before.encode_text(ids.long())
    shutil.rmtree(tmp_path / "hf")
    after = load_backbone(f"local-dir:{tmp_path / 'copy'}", None, 64)
    assert torch.equal(after.tokenize(texts, 16).input_ids, ids)
    assert torch.equal(after.encode_text(ids.long()), expected)
    assert after.identity.same_weights(before.identity)
    assert after.transform == before.transform


def test_an_architecture_of_open_clip_becomes_a_folder(tmp_path):
    before = load_backbone("ViT-S-32-alt", None, 224)
    save_backbone(before, tmp_path / "copy", weights=True)
    after = load_backbone(f"local-dir:{tmp_path / 'copy'}", None, 224)
    assert after.identity.same_weights(before.identity)
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    assert torch.equal(after.encode_image(images), before.encode_image(images))
    ids = before.tokenize(["a shirt"], 77).input_ids
    assert torch.equal(after.tokenize(["a shirt"], 77).input_ids, ids)


def test_damage_is_named(config, catalog, tmp_path):
    checkpoint, _ = save(tmp_path, config, catalog, 0, "stage1")
    write_bundle(tmp_path / "b", Mixture.of([checkpoint], config), {})
    with pytest.raises(BundleError, match=r"bundle\.json: can't be read .*copy of the model complete"):
        open_bundle(tmp_path / "nowhere")
    text = (tmp_path / "b" / "bundle.json").read_text()
    changed = json.loads(text) | {"format": 2}
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(changed))
    with pytest.raises(BundleError, match=r"bundle\.json: format.*another version"):
        open_bundle(tmp_path / "b")
    (tmp_path / "b" / "bundle.json").write_text(text)
    weights = tmp_path / "b" / "backbone" / "open_clip_model.safetensors"
    weights.unlink()
    with pytest.raises(BackboneError, match="holds no weights"):
        score(catalog, open_bundle(tmp_path / "b").checkpoints, config)
    shutil.rmtree(tmp_path / "b" / "fold-0")
    with pytest.raises(CheckpointError, match=re.escape("meta.json")):
        open_bundle(tmp_path / "b")


def test_what_was_changed_after_packing_is_found(config, catalog, tmp_path):
    checkpoints = [save(tmp_path, config, catalog, fold, "stage1")[0] for fold in (0, 1)]
    write_bundle(tmp_path / "b", Mixture.of(checkpoints, config), {})
    weights = tmp_path / "b" / "fold-0" / "weights.safetensors"
    weights.unlink()  # a link to that of the run
    shutil.copy(tmp_path / "b" / "fold-1" / "weights.safetensors", weights)
    with pytest.raises(CheckpointError, match=r"fold-0/weights\.safetensors: damaged, or not the weights"):
        score(catalog, open_bundle(tmp_path / "b").checkpoints, config)
    text = (tmp_path / "b" / "bundle.json").read_text()
    (tmp_path / "b" / "bundle.json").write_text(text.replace('"batch_size": 64', '"batch_size": 65'))
    with pytest.raises(BundleError, match=r"bundle\.json: was changed or damaged after it was written"):
        open_bundle(tmp_path / "b")


def test_a_damaged_checkpoint_is_not_packed(config, catalog, tmp_path):
    checkpoint, _ = save(tmp_path, config, catalog, 0, "stage1")
    content = bytearray((checkpoint.folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (checkpoint.folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, or not the weights"):
        write_bundle(tmp_path / "b", Mixture.of([checkpoint], config), {})


@pytest.mark.parametrize("name", ["../stage1-0", "/stage1-0", "fold-0/../../stage1-0", "fold-0\n", "backbone", ""])
def test_no_path_leads_out_of_a_bundle(config, catalog, tmp_path, name):
    checkpoint, _ = save(tmp_path, config, catalog, 0, "stage1")
    write_bundle(tmp_path / "b", Mixture.of([checkpoint], config), {})
    meta = open_bundle(tmp_path / "b").meta
    expert = meta.experts[0].model_copy(update={"checkpoints": (name,)})
    write_header(tmp_path / "b" / "bundle.json", meta.model_copy(update={"experts": (expert,)}))
    with pytest.raises(BundleError, match=r"bundle\.json: experts\.0\.checkpoints\.0: String should match pattern"):
        open_bundle(tmp_path / "b")
