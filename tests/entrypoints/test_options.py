"""The optional ways to train: gradient checkpointing, patch dropout, torch.compile.

.venv/bin/python -m pytest tests/entrypoints/test_options.py               # with -m slow: torch.compile
"""

import shutil

import pytest
import torch

from mmclf.errors import BackboneError
from mmclf.model.loading import load_backbone
from tests.conftest import SIZE
from tests.towers import make_dual

IMAGES = torch.randint(0, 256, (3, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def gradients(backbone):
    backbone.requires_grad_(True).train()
    backbone.zero_grad()
    tokens = backbone.tokenize(["a red shirt", "", "oak table"], 8)
    input_ids, _ = tokens.batch(torch.arange(3))
    (backbone.encode_image(IMAGES).square().sum() + backbone.encode_text(input_ids).square().sum()).backward()
    return {name: p.grad.clone() for name, p in backbone.clip.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_no_gradient(clip_folder):
    backbone = load_backbone(f"local-dir:{clip_folder}", None, SIZE)
    expected = gradients(backbone)
    backbone.checkpoint_gradients()
    assert backbone.clip.visual.transformer.grad_checkpointing
    found = gradients(backbone)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_tower_without_gradient_checkpointing_is_named(tmp_path, monkeypatch):
    backbone = load_backbone(f"local-dir:{make_dual(tmp_path / 'dual')}", None, 64)

    def refuse(enable):
        raise NotImplementedError("not here")

    monkeypatch.setattr(backbone.clip, "set_grad_checkpointing", refuse)
    with pytest.raises(BackboneError, match=r"train\.grad_checkpointing: local-dir:.*not here.*set it to false"):
        backbone.checkpoint_gradients()


def test_patch_dropout_acts_in_training_only(clip_folder):
    # the demo's tower has 4 patches at this size
    whole = load_backbone(f"local-dir:{clip_folder}", None, SIZE)
    dropped = load_backbone(f"local-dir:{clip_folder}", None, SIZE, patch_dropout=0.5)
    assert dropped.identity == whole.identity
    assert torch.equal(dropped.eval().encode_image(IMAGES), whole.eval().encode_image(IMAGES))
    dropped.train()
    torch.manual_seed(0)
    views = [dropped.encode_image(IMAGES) for _ in range(4)]
    assert any(not torch.allclose(view, views[0], atol=1e-4) for view in views[1:])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns itself while it compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_towers_compute_the_same(clip_folder):
    backbone = load_backbone(f"local-dir:{clip_folder}", None, SIZE)
    names = set(backbone.clip.state_dict())
    expected = gradients(backbone)
    backbone.compile_towers()
    backbone.compile_towers()
    found = gradients(backbone)
    assert set(backbone.clip.state_dict()) == names  # a checkpoint of it is loaded like any other
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)
