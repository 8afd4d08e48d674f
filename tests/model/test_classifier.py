"""The classifier: features, head, freezing, parameter groups.

.venv/bin/python -m pytest tests/model/test_classifier.py
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mmclf.config import LearningRates
from mmclf.data.row_batches import Batch
from mmclf.model.classifier import Classifier, Head, mean_by_row
from mmclf.runtime.device import Precision
from tests.conftest import MAX_LEN, SIZE

FLOAT32 = Precision(None, False, "test")
RATES = LearningRates(image_encoder=1e-5, text_encoder=2e-5, head=3e-4)


@pytest.fixture
def batch(backbone) -> Batch:
    """Three rows with one, two and one pictures."""
    tokens = backbone.tokenize(["a red shirt", "", "oak table"], MAX_LEN)
    return Batch(
        rows=torch.arange(3),
        images=torch.randint(0, 256, (4, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).to(torch.uint8),
        picture_row=torch.tensor([0, 1, 1, 2]),
        input_ids=tokens.input_ids.long(),
        attention_mask=tokens.attention_mask,
        targets=torch.tensor([0, 1, 2]),
    )


def classifier(backbone, *, trainable: bool, precision: Precision = FLOAT32) -> Classifier:
    torch.manual_seed(0)
    width = backbone.identity.image_dim + backbone.identity.text_dim
    return Classifier(backbone, Head(width, 32, 5, 0.1), precision, clip_trainable=trainable)


def test_the_head_is_the_recipes(backbone):
    kinds = [type(layer) for layer in Head(10, 32, 5, 0.1)]
    assert kinds == [nn.Dropout, nn.Linear, nn.GELU, nn.Dropout, nn.Linear]
    assert Head(10, 32, 5, 0.1)(torch.zeros(2, 10)).shape == (2, 5)


def test_features_are_image_then_text_and_not_normalised(backbone, batch):
    model = classifier(backbone, trainable=False).eval()
    features = model.features(batch)
    width = backbone.identity.image_dim
    images = backbone.encode_image(batch.images)
    assert torch.allclose(features[0, :width], images[0], atol=1e-6)
    assert torch.allclose(features[1, :width], (images[1] + images[2]) / 2, atol=1e-6)
    assert torch.allclose(features[:, width:], backbone.encode_text(batch.input_ids), atol=1e-6)
    assert model(batch).shape == (3, 5)


def test_the_mean_counts_the_pictures_that_exist():
    features = torch.tensor([[1.0], [10.0], [20.0], [60.0], [5.0]])
    rows = torch.tensor([0, 1, 1, 1, 2])
    assert mean_by_row(features, rows, 3).flatten().tolist() == [1.0, 30.0, 5.0]


def test_frozen_towers_stay_in_eval_mode_without_gradients(backbone, batch):
    model = classifier(backbone, trainable=False).train()
    assert model.head.training
    assert not any(module.training for module in model.backbone.modules())
    model(batch).sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.head.parameters())


def test_trainable_towers_get_gradients_everywhere(backbone, batch):
    model = classifier(backbone, trainable=True).train()
    assert model.backbone.training
    model(batch).square().sum().backward()
    for parameter in backbone.image_parameters() + backbone.text_parameters():
        assert parameter.grad is not None


def test_each_module_has_its_learning_rate_and_no_parameter_is_in_two(backbone):
    groups = classifier(backbone, trainable=True).parameter_groups(RATES)
    assert {g["name"]: g["lr"] for g in groups} == {"image_encoder": 1e-5, "text_encoder": 2e-5, "head": 3e-4}
    ids = [id(p) for g in groups for p in g["params"]]
    assert len(ids) == len(set(ids))
    assert [g["name"] for g in classifier(backbone, trainable=False).parameter_groups(RATES)] == ["head"]
    # all of the model but the contrastive temperature
    assert len(ids) == len(list(backbone.parameters())) - 1 + 4


def test_under_autocast_the_towers_are_bfloat16_and_features_and_head_are_float32(backbone, batch):
    model = classifier(backbone, trainable=False, precision=Precision(torch.bfloat16, False, "test")).eval()
    plain = classifier(backbone, trainable=False).eval()
    assert model.features(batch).dtype == torch.float32
    assert model(batch).dtype == torch.float32
    difference = (model.features(batch) - plain.features(batch)).abs().max()
    assert 0 < difference < 0.1


def test_no_picture_of_another_row_counts(backbone, batch):
    model = classifier(backbone, trainable=False).eval()
    changed = replace(batch, images=batch.images.index_fill(0, torch.tensor([1, 2]), 0))
    before, after = model(batch), model(changed)
    assert torch.allclose(before[[0, 2]], after[[0, 2]], atol=1e-6)
    assert not torch.allclose(before[1], after[1], atol=1e-4)
