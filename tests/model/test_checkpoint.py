"""Checkpoints: complete or absent, strict, and only with the backbone they were trained on.

.venv/bin/python -m pytest tests/model/test_checkpoint.py
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmclf.config import build_config
from mmclf.errors import BackboneError, CheckpointError
from mmclf.model import checkpoint as module
from mmclf.model.checkpoint import (
    CheckpointMeta,
    build_head,
    load_head,
    open_checkpoint,
    save_checkpoint,
)
from mmclf.model.classifier import Classifier
from mmclf.runtime.device import Precision
from mmclf.scoring.fold_models import restore_backbone
from tests.conftest import SIZE

CLASSES = ("Bags", "Hats", "Schöne Schuhe / rot")


def make(backbone, config, stage="stage1") -> tuple[Classifier, CheckpointMeta]:
    model = Classifier(
        backbone,
        build_head(backbone.identity, config, len(CLASSES)),
        Precision(None, False, ""),
        clip_trainable=stage == "stage2",
    )
    meta = CheckpointMeta(
        stage=stage,
        fold=1,
        classes=CLASSES,
        id_col="id",
        label_col="categories",
        text_cols=("title",),
        backbone=backbone.identity,
        transform=backbone.transform,
        config=config,
        metrics={"val_top1": 0.5},
    )
    return model, meta


def test_a_stage_1_checkpoint_holds_the_head_and_the_identity_only(backbone, config, tmp_path):
    model, meta = make(backbone, config)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["meta.json", "weights.safetensors"]
    assert all(name.startswith("head.") for name in load_file(tmp_path / "c" / "weights.safetensors"))
    found = open_checkpoint(tmp_path / "c")
    assert found.meta == meta
    assert json.loads((tmp_path / "c" / "meta.json").read_text())["backbone"]["activation"] == "quick_gelu"
    fresh = build_head(backbone.identity, config, len(CLASSES))
    load_head(fresh, found)
    for name, tensor in model.head.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)
    assert restore_backbone(found, SIZE).identity == backbone.identity


def test_a_stage_2_checkpoint_holds_the_towers(backbone, config, tmp_path):
    model, meta = make(backbone, config, "stage2")
    with torch.no_grad():
        for parameter in backbone.text_parameters():
            parameter.add_(0.5)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    restored = restore_backbone(open_checkpoint(tmp_path / "c"), SIZE)
    for name, tensor in backbone.clip.state_dict().items():
        assert torch.equal(restored.clip.state_dict()[name], tensor), name


def test_saving_replaces_the_former_one_and_a_failure_leaves_nothing(backbone, config, tmp_path, monkeypatch):
    model, meta = make(backbone, config)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta.model_copy(update={"fold": 2}))
    assert open_checkpoint(tmp_path / "c").meta.fold == 2

    def full(*_args):
        raise OSError("no space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    assert open_checkpoint(tmp_path / "c").meta.fold == 2
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_damage_is_named(backbone, config, tmp_path):
    model, meta = make(backbone, config)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    with pytest.raises(CheckpointError, match=r"nowhere.*is the run complete"):
        open_checkpoint(tmp_path / "nowhere")
    weights = tmp_path / "c" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: missing or damaged"):
        load_head(model.head, open_checkpoint(tmp_path / "c"))
    text = (tmp_path / "c" / "meta.json").read_text()
    (tmp_path / "c" / "meta.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(CheckpointError, match=r"meta\.json: format.*another version"):
        open_checkpoint(tmp_path / "c")


def test_a_head_of_another_size_is_refused(backbone, config, tree, tmp_path):
    model, meta = make(backbone, config)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    with pytest.raises(CheckpointError, match="head doesn't fit"):
        load_head(build_head(backbone.identity, config, 7), open_checkpoint(tmp_path / "c"))


def test_a_frozen_backbone_that_changed_or_went_away_is_refused(clip_folder, tree, tmp_path):
    from mmclf.model.loading import load_backbone

    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    tree = {**tree, "model": {**tree["model"], "name": f"local-dir:{folder}"}}
    model, meta = make(load_backbone(f"local-dir:{folder}", None, SIZE), build_config(tree))
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    state = load_file(folder / "open_clip_model.safetensors")
    state["ln_final.bias"] += 1
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=r"weights are not the ones.*train stage 1 again"):
        restore_backbone(open_checkpoint(tmp_path / "c"), SIZE)
    shutil.rmtree(folder)
    with pytest.raises(BackboneError, match="no such folder"):
        restore_backbone(open_checkpoint(tmp_path / "c"), SIZE)
