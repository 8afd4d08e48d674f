"""Adapters change nothing at first, are all that is trained of the towers, and leave no trace in a checkpoint.

.venv/bin/python -m pytest tests/model/test_lora.py
"""

import copy

import pytest
import torch

from mmclf.config import LearningRates
from mmclf.data.row_batches import Batch
from mmclf.data.text import Tokens
from mmclf.model.classifier import Classifier
from mmclf.model.loading import load_backbone
from mmclf.model.lora import SCALE, Adapter
from mmclf.runtime.device import Precision
from tests.towers import SIZE, make_dual, make_native

RANK = 2
FLOAT32 = Precision(None, False, "test")
FOLDERS = {
    "clip": lambda folder: make_native(folder, custom=False),
    "custom text": lambda folder: make_native(folder, custom=True),
    "timm and BERT": make_dual,
}


@pytest.fixture(params=FOLDERS, scope="module")
def backbone(request, tmp_path_factory):
    """One of each kind of towers: torch's packed attention, convolutions, linear layers of transformers."""
    folder = FOLDERS[request.param](tmp_path_factory.mktemp("towers") / "folder")
    return load_backbone(f"local-dir:{folder}", None, 64 if request.param == "timm and BERT" else SIZE)


def batch_of(backbone, rows=3):
    size = backbone.transform.img_size
    images = torch.randint(0, 256, (rows, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    tokens: Tokens = backbone.tokenize(["a red shirt", "oak table", "shirt"][:rows], 8)
    input_ids, attention_mask = tokens.batch(torch.arange(rows))
    return Batch(
        rows=torch.arange(rows),
        images=images,
        picture_row=torch.arange(rows),
        input_ids=input_ids,
        attention_mask=attention_mask,
        targets=torch.arange(rows) % 2,
    )


def classifier(backbone, **options):
    torch.manual_seed(0)
    towers = copy.deepcopy(backbone)
    head = torch.nn.Linear(towers.identity.image_dim + towers.identity.text_dim, 2)
    return Classifier(towers, head, FLOAT32, clip_trainable=True, **options)


def trained(model, batch, steps=3):
    rates = LearningRates(image_encoder=1e-2, text_encoder=1e-2, head=1e-2)
    optimizer = torch.optim.AdamW(model.parameter_groups(rates))
    model.train()
    for _ in range(steps):
        torch.nn.functional.cross_entropy(model(batch), batch.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def adapters(model):
    return {name for name, module in model.named_modules() if isinstance(module, Adapter)}


def test_they_change_nothing_until_they_are_trained(backbone):
    batch = batch_of(backbone)
    with torch.no_grad():
        plain, adapted = (classifier(backbone, lora_rank=rank).eval()(batch) for rank in (None, RANK))
    torch.testing.assert_close(adapted, plain, rtol=0, atol=1e-6)


def test_they_and_the_head_are_all_that_is_trained(backbone):
    model = classifier(backbone, lora_rank=RANK)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    trained(model, batch_of(backbone))
    moved = {name for name, each in model.state_dict().items() if not torch.equal(each, before[name])}
    assert {name for name in moved if not name.endswith((".down", ".up"))} == {"head.weight", "head.bias"}
    assert any(name.endswith(".up") and ".visual." in name for name in moved)
    assert any(name.endswith(".up") and ".visual." not in name for name in moved)
    groups = model.parameter_groups(LearningRates(image_encoder=1.0, text_encoder=1.0, head=1.0))
    given = {id(each) for group in groups for each in group["params"]}
    assert given == {id(each) for each in model.parameters() if each.requires_grad}
    assert all(module.up.shape[1] <= RANK for module in model.modules() if isinstance(module, Adapter))


def test_a_checkpoint_holds_the_sums_under_the_names_of_the_towers(backbone):
    batch = batch_of(backbone)
    model = trained(classifier(backbone, lora_rank=RANK), batch)
    state = model.served_state()
    served = classifier(backbone).eval()
    with torch.no_grad():
        assert (served(batch) - model(batch)).abs().max() > 1e-3
        served.load_state_dict(state, strict=True)
        torch.testing.assert_close(served(batch), model(batch), rtol=0, atol=1e-5)
    name = sorted(adapters(model))[0]
    adapter = model.get_submodule(name)
    stem, _, weight = name.rpartition(".0")[0].rpartition(".parametrizations.")
    original = backbone.get_parameter(f"{stem}.{weight}".removeprefix("backbone."))
    added = SCALE * (adapter.up @ adapter.down).view_as(original)
    assert torch.allclose(state[f"{stem}.{weight}"], original + added)


def test_without_adapters_the_state_is_the_models(backbone):
    model = classifier(backbone)
    assert adapters(model) == set()
    state = model.served_state()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], each) for name, each in model.state_dict().items())


def test_under_autocast_the_sum_is_exact(backbone):
    model = trained(classifier(backbone, lora_rank=RANK), batch_of(backbone))
    module = next(module for module in model.modules() if hasattr(module, "parametrizations"))
    name = next(iter(module.parametrizations))
    expected = getattr(module, name)
    with torch.autocast("cpu", torch.bfloat16):
        found = getattr(module, name)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")  # as open_clip asks transformers
def test_gradient_checkpointing_reaches_them(backbone):
    """Where everything before a layer is frozen, some ways to recompute it give no gradient."""
    found = []
    for checkpointed in (False, True):
        model = classifier(backbone, lora_rank=RANK).train()
        if checkpointed:
            model.backbone.checkpoint_gradients()
        batch = batch_of(backbone)
        torch.nn.functional.cross_entropy(model(batch), batch.targets).backward()
        found.append({name: each.grad for name, each in model.named_parameters() if each.requires_grad})
    without, checked = found
    assert sum(each is not None for each in without.values()) > 4
    for name, gradient in without.items():
        if gradient is None:  # of the pooler that isn't asked
            assert checked[name] is None
        else:
            torch.testing.assert_close(checked[name], gradient, rtol=1e-5, atol=1e-6, msg=name)
