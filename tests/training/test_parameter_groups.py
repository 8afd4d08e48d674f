"""Which parameters share a rate and a decay.

.venv/bin/python -m pytest tests/training/test_parameter_groups.py
"""

import copy
from collections import defaultdict

import open_clip
import pytest
import timm
import torch
from torch import nn

from mmclf.config import build_config
from mmclf.model.checkpoint import build_head
from mmclf.model.classifier import Classifier, HeadModel
from mmclf.model.loading import load_backbone
from mmclf.runtime.device import Precision
from mmclf.training.parameter_groups import optimiser_groups, steps_from_top
from tests.towers import make_dual, make_native

LRS = {"image_encoder": 1e-3, "text_encoder": 1e-2, "head": 1e-1}


def layers(names):
    """Names by how many layers lie above."""
    found = defaultdict(list)
    for name, steps in zip(names, steps_from_top(names), strict=True):
        found[steps].append(name)
    return found


def build(backbone, tree, **train):
    changed = copy.deepcopy(tree)
    changed["model"]["clip_trainable"] = True
    changed["train"].update(lrs=LRS, **train)
    config = build_config(changed)
    head = build_head(backbone.identity, config, 3)
    return Classifier(backbone, head, Precision(None, False, "test"), clip_trainable=True), config.train


def rates_and_decays(model, config):
    """(rate, weight decay) of each parameter by its name, and how often it occurs."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(optimiser_groups(model, config), weight_decay=config.weight_decay)
    found = [(names[p], g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]]
    assert len({name for name, _, _ in found}) == len(found)
    return {name: (rate, decay) for name, rate, decay in found}


def test_as_configured_by_default_they_are_the_modules(backbone, tree):
    model, config = build(backbone, tree)
    expected = model.parameter_groups(config.lrs)
    found = optimiser_groups(model, config)
    assert [group["name"] for group in found] == ["image_encoder", "text_encoder", "head"]
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(a is b for a, b in zip(one["params"], other["params"], strict=True))


def test_the_rate_falls_with_depth_in_both_towers(clip_folder, backbone, tree):
    model, config = build(backbone, tree, layer_decay=0.5)
    found = rates_and_decays(model, config)
    clip = "backbone.clip."
    image_blocks = len(backbone.clip.visual.transformer.resblocks)
    text_blocks = len(backbone.clip.transformer.resblocks)
    assert found[clip + "visual.proj"][0] == 1e-3
    assert found[clip + "visual.ln_post.weight"][0] == 1e-3
    for block in range(image_blocks):
        rate = found[f"{clip}visual.transformer.resblocks.{block}.ln_1.weight"][0]
        assert rate == pytest.approx(1e-3 * 0.5 ** (image_blocks - block))
    lowest = 1e-3 * 0.5 ** (image_blocks + 1)
    for name in ("visual.conv1.weight", "visual.class_embedding", "visual.positional_embedding"):
        assert found[clip + name][0] == pytest.approx(lowest)
    assert found[clip + "text_projection"][0] == 1e-2
    assert found[clip + "transformer.resblocks.0.mlp.c_fc.weight"][0] == pytest.approx(1e-2 * 0.5**text_blocks)
    assert found[clip + "token_embedding.weight"][0] == pytest.approx(1e-2 * 0.5 ** (text_blocks + 1))
    assert found["head.1.weight"][0] == found["head.4.bias"][0] == 1e-1
    assert set(found) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_towers_of_other_libraries_have_depth_too(tmp_path, tree):
    backbone = load_backbone(f"local-dir:{make_dual(tmp_path / 'dual')}", None, 64)
    model, config = build(backbone, tree, layer_decay=0.5)
    found = rates_and_decays(model, config)
    visual, text = "backbone.clip.visual.", "backbone.clip.text."
    assert found[visual + "head.proj.weight"][0] == 1e-3
    assert found[visual + "trunk.layer4.0.conv1.weight"][0] == pytest.approx(1e-3 / 2)
    assert found[visual + "trunk.layer1.0.conv1.weight"][0] == pytest.approx(1e-3 / 16)
    assert found[visual + "trunk.conv1.0.weight"][0] == pytest.approx(1e-3 / 32)
    assert found[text + "proj.weight"][0] == 1e-2
    assert found[text + "transformer.encoder.layer.1.output.dense.bias"][0] == pytest.approx(1e-2 / 2)
    assert found[text + "transformer.encoder.layer.0.output.dense.bias"][0] == pytest.approx(1e-2 / 4)
    assert found[text + "transformer.embeddings.LayerNorm.weight"][0] == pytest.approx(1e-2 / 8)


def test_a_text_tower_apart_has_the_depth_of_the_joint_one(tmp_path, tree):
    rates = []
    for custom in (False, True):
        folder = make_native(tmp_path / str(custom), custom=custom)
        model, config = build(load_backbone(f"local-dir:{folder}", None, 32), tree, layer_decay=0.5)
        found = rates_and_decays(model, config)
        rates.append({name.replace("clip.text.", "clip."): rate for name, (rate, _) in found.items()})
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("name", "stack", "top", "bottom"),
    [
        ("tf_efficientnet_lite0", 7, "conv_head.weight", "conv_stem.weight"),
        ("convnext_atto", 4, "head.norm.weight", "stem.0.weight"),
        ("vit_tiny_patch16_224", 12, "norm.weight", "patch_embed.proj.weight"),
        ("swin_tiny_patch4_window7_224", 4, "norm.weight", "patch_embed.proj.weight"),
    ],
)
def test_the_depth_of_timms_towers(name, stack, top, bottom):
    with torch.device("meta"):
        names = [each for each, _ in timm.create_model(name, num_classes=0).named_parameters()]
    found = layers(names)
    assert sorted(found) == list(range(stack + 2))
    assert top in found[0]
    assert bottom in found[stack + 1]


@pytest.mark.parametrize(
    ("name", "image", "text"), [("RN50", 4, 12), ("ViT-B-16-SigLIP", 12, 12), ("MobileCLIP-S1", 4, 12)]
)
def test_the_depth_of_open_clips_towers(name, image, text):
    with torch.device("meta"):
        clip = open_clip.create_model(name, device="meta")
    names = [each for each, _ in clip.named_parameters()]
    visual = layers([each for each in names if each.startswith("visual.")])
    assert sorted(visual) == list(range(image + 2))
    rest = layers([each for each in names if not each.startswith("visual.") and "logit" not in each])
    assert sorted(rest) == list(range(text + 2))
    assert all("emb" in each for each in rest[text + 1])


def test_a_tower_without_blocks_has_one_rate():
    assert steps_from_top(["stem.weight", "proj.weight"]) == [0, 0]


def test_norms_and_biases_are_spared_from_decay_and_nothing_else_is(backbone, tree):
    model, config = build(backbone, tree, decay_norms=False, weight_decay=0.3)
    found = rates_and_decays(model, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert found[name][1] == (0.0 if parameter.ndim == 1 else 0.3), name
    assert {rate for rate, _ in found.values()} == set(LRS.values())


def test_a_head_alone_has_no_depth(backbone, tree):
    changed = copy.deepcopy(tree)
    changed["train"].update(lrs=LRS, decay_norms=False)
    config = build_config(changed)
    model = HeadModel(build_head(backbone.identity, config, 3))
    found = rates_and_decays(model, config.train)
    assert {name: decay for name, (_, decay) in found.items()} == {
        "head.1.weight": 0.01,
        "head.1.bias": 0.0,
        "head.4.weight": 0.01,
        "head.4.bias": 0.0,
    }
    assert isinstance(model, nn.Module)
