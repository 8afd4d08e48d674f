"""Checkpoints: complete or absent, strict, and only with the backbone they were trained on.

.venv/bin/python -m pytest tests/model/test_checkpoint.py
"""

import json
import random
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
    open_head,
    save_checkpoint,
)
from mmclf.model.classifier import Classifier
from mmclf.model.finite import is_finite
from mmclf.model.zero_shot import ZeroShotHead
from mmclf.runtime.device import Precision
from mmclf.scoring.fold_models import restore_backbone
from mmclf.store.files import sha256_of, write_header
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
    assert found.meta == meta.model_copy(update={"file_sha256": found.meta.file_sha256})
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
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged, or not the weights"):
        load_head(model.head, open_checkpoint(tmp_path / "c"))
    weights.unlink()
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


# damage that has the right shape


CPU = torch.device("cpu")


@pytest.fixture
def saved(backbone, config, tmp_path):
    model, meta = make(backbone, config)
    save_checkpoint(tmp_path / "c", model.state_dict(), meta)
    return tmp_path / "c"


def refused(folder) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_head(open_checkpoint(folder), CPU)
    return str(caught.value)


def test_an_intact_one_opens(saved, backbone, config):
    open_head(open_checkpoint(saved), CPU)
    assert open_checkpoint(saved).meta.file_sha256 == sha256_of(saved / "weights.safetensors")


def test_a_flipped_bit_of_the_weights_is_found(saved):
    path = saved / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "weights.safetensors: damaged, or not the weights that meta.json belongs to (SHA-256" in refused(saved)


def test_the_weights_of_another_fold_are_found(saved, backbone, config, tmp_path):
    model, meta = make(backbone, config)
    save_checkpoint(tmp_path / "other", model.state_dict(), meta)
    shutil.copy(tmp_path / "other" / "weights.safetensors", saved)
    assert "not the weights that meta.json belongs to" in refused(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_found(backbone, config, tmp_path, value):
    model, meta = make(backbone, config)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["head.4.bias"][1] = value
    save_checkpoint(tmp_path / "c", state, meta)
    assert "head.4.bias holds nan or inf: its training diverged" in refused(tmp_path / "c")


def test_what_is_finite():
    assert is_finite(torch.tensor([1e38, -1e38, 0.0]))
    assert is_finite(torch.empty(0))
    assert is_finite(torch.tensor([True, False]))
    for value in (float("nan"), float("inf")):
        assert not is_finite(torch.tensor([1.0, value], dtype=torch.float16))


@pytest.mark.parametrize(
    "change",
    [
        {"classes": [*reversed(CLASSES)]},
        {"text_cols": ["description"]},
        {"file_sha256": "0" * 64},
        {"fold": 2},
    ],
)
def test_a_header_that_was_changed_is_found(saved, change):
    tree = json.loads((saved / "meta.json").read_text()) | change
    (saved / "meta.json").write_text(json.dumps(tree))
    assert refused(saved).endswith("meta.json: was changed or damaged after it was written (its sha256 differs)")


def test_a_header_may_be_laid_out_anew(saved):
    tree = json.loads((saved / "meta.json").read_text())
    (saved / "meta.json").write_text(json.dumps(dict(reversed(tree.items()))))
    open_head(open_checkpoint(saved), CPU)


def test_a_header_without_a_digest_is_an_older_one(saved):
    tree = json.loads((saved / "meta.json").read_text())
    del tree["sha256"]
    (saved / "meta.json").write_text(json.dumps(tree))
    assert "has no sha256, so damage wouldn't show; an older mmclf wrote it: make it anew" in refused(saved)


def test_equal_classes_are_refused(saved):
    meta = open_checkpoint(saved).meta
    write_header(saved / "meta.json", meta.model_copy(update={"classes": ("Bags", "Hats", "Bags")}))
    assert "classes: 'Bags' stands there twice" in refused(saved)


def test_a_class_too_many_is_refused(saved):
    meta = open_checkpoint(saved).meta
    write_header(saved / "meta.json", meta.model_copy(update={"classes": (*meta.classes, "more")}))
    assert "numbers are stored, but meta.json describes 4 classes" in refused(saved)


@pytest.mark.parametrize("width", [10**12, 10**18, 2**70, -5])
def test_a_width_that_no_memory_has_is_compared_not_allocated(saved, width):
    meta = open_checkpoint(saved).meta
    identity = meta.backbone.__class__(**{**vars(meta.backbone), "image_dim": width})
    write_header(saved / "meta.json", meta.model_copy(update={"backbone": identity}))
    assert "its head doesn't fit" in refused(saved)


def is_same_json(one, other) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_whatever_byte_is_damaged_it_is_said_in_a_sentence(saved):
    whole = {path: path.read_bytes() for path in saved.iterdir()}
    rng = random.Random(0)
    for number in range(150):
        for path, content in whole.items():
            path.write_bytes(content)
        path = rng.choice(sorted(whole))
        changed = bytearray(whole[path])
        place = rng.randrange(len(changed))
        if number % 3 == 0:
            del changed[place:]
        else:
            changed[place] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        if path.name == "meta.json" and is_same_json(changed, whole[path]):
            open_head(open_checkpoint(saved), CPU)  # a blank between two words, or the last line break
        else:
            assert path.name in refused(saved)


def test_a_head_for_features_of_another_width_is_refused(backbone, config, tmp_path):
    _, meta = make(backbone, config)
    named = config.model_copy(update={"model": config.model.model_copy(update={"head": "zero-shot"})})
    head = ZeroShotHead(torch.ones(len(CLASSES), 7), ["picture", "text"], {}, torch.zeros(len(CLASSES)))
    state = {f"head.{name}": tensor for name, tensor in head.tensors().items()}
    save_checkpoint(tmp_path / "c", state, meta.model_copy(update={"config": named}))
    assert "its head reads image features of width 7, but the backbone's have" in refused(tmp_path / "c")
