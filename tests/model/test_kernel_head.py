"""A solved head: what it goes by, and that it comes back from a file as it was.

.venv/bin/python -m pytest tests/model/test_kernel_head.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmclf.config import KERNELS
from mmclf.model.head_inputs import HeadInputs
from mmclf.model.kernel_head import LINEAR, KernelHead, Link
from mmclf.model.kernels import Prepared
from mmclf.training.kernel_fit import fit_kernel_head
from tests.products import CLASSES, draw_products


def fit(inputs, targets, kernels=KERNELS, groups=None):
    every = np.arange(len(inputs))
    return fit_kernel_head(Prepared.of(inputs, kernels), every, targets, CLASSES, list(kernels), groups, seed=0).head


@pytest.fixture(scope="module")
def products():
    return draw_products()


@pytest.fixture(scope="module")
def head(products) -> KernelHead:
    return fit(*products)


def test_it_tells_classes_apart_and_sums_to_one(head):
    others, truth = draw_products(200, seed=1, without=0.0)
    found = head.probabilities(others)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-6)
    assert (found.argmax(dim=1).numpy() == truth).mean() > 0.9


def test_a_black_pictures_feature_counts_for_nothing(head):
    rows, _ = draw_products(60, seed=2, without=0.4)
    other = replace(rows, images=np.where(rows.has_picture[:, None], rows.images, np.float32(-55)))
    assert not rows.has_picture.all()
    assert torch.equal(head.probabilities(other), head.probabilities(rows))


def test_an_empty_texts_feature_counts_for_nothing(head):
    rows, _ = draw_products(60, seed=2, without=0.4)
    other = replace(rows, texts=np.where(rows.has_text[:, None], rows.texts, np.float32(99)))
    assert not rows.has_text.all()
    assert torch.equal(head.probabilities(other), head.probabilities(rows))


@pytest.mark.parametrize(
    ("kernels", "gone"),
    [
        (["text", "title", "words", "chars", "title_chars"], {"has_picture": False}),
        (["image", "outline"], {"strings": ""}),
    ],
)
def test_a_row_that_lost_a_part_is_judged_as_by_a_head_that_never_had_it(kernels, gone):
    """Trained where no row lacks anything, so that nothing is known of rows that do."""
    rows, truth = draw_products(100, seed=3, without=0.0)
    both, alone = fit(rows, truth), fit(rows, truth, kernels)
    others, _ = draw_products(50, seed=4, without=0.0)
    if "has_picture" in gone:
        less = replace(others, has_picture=np.zeros(len(others), dtype=bool))
    else:
        less = replace(others, strings=[""] * len(others), title_strings=[""] * len(others))
    torch.testing.assert_close(both.probabilities(less), alone.probabilities(others), atol=1e-4, rtol=0)


def test_with_nothing_to_go_by_it_answers_the_classes_shares(head, products):
    row = HeadInputs.of([""], np.zeros((1, 12), np.float32), np.array([False]), np.zeros((1, 12), np.float32))
    shares = np.bincount(products[1], minlength=CLASSES) / len(products[1])
    np.testing.assert_allclose(head.probabilities(row)[0], shares, atol=1e-6)


def test_company_and_order_change_nothing(head):
    rows, _ = draw_products(50, seed=5)
    whole = head.probabilities(rows)
    order = np.random.default_rng(0).permutation(50)
    torch.testing.assert_close(head.probabilities(rows.take(order)), whole[order], atol=1e-5, rtol=0)
    parts = torch.cat([head.probabilities(rows.slice(start, start + 7)) for start in range(0, 50, 7)])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernels", [KERNELS, ["words"], ["image"], ["product"], ["text", "chars"]])
def test_it_comes_back_from_its_tensors_to_the_bit(kernels, products):
    head = fit(*products, kernels)
    again = KernelHead.from_tensors({name: tensor.clone() for name, tensor in head.tensors().items()})
    rows, _ = draw_products(40, seed=6, without=0.3)
    assert torch.equal(again.probabilities(rows), head.probabilities(rows))
    assert again.routes == head.routes
    assert again.kernels == head.kernels


def test_tensors_that_do_not_fit_are_refused(head):
    tensors = head.tensors()
    with pytest.raises(KeyError):
        KernelHead.from_tensors({name: tensor for name, tensor in tensors.items() if name != "log_prior"})
    with pytest.raises(ValueError, match="alpha is"):
        KernelHead.from_tensors(tensors | {"solution.text.alpha": tensors["solution.text.alpha"][:-1]})


@pytest.mark.parametrize("part", ["buckets", "starts"])
@pytest.mark.parametrize("value", [-1, 2**30])
def test_an_index_that_leads_out_of_memory_is_refused(head, part, value):
    tensors = head.tensors()
    changed = tensors[f"support.words.{part}"].clone()
    changed[1] = value
    with pytest.raises(ValueError, match="ind"):
        KernelHead.from_tensors(tensors | {f"support.words.{part}": changed})


@pytest.mark.parametrize(
    ("kernels", "reads"),
    [
        (KERNELS, ["image", "outline", "text", "title"]),
        (["title", "words"], ["title"]),
        (["words", "chars"], []),
        (["image", "words"], ["image"]),
        (["product"], ["image", "text"]),
    ],
)
def test_it_asks_for_the_features_that_it_compares(kernels, reads, products):
    assert list(fit(*products, kernels).reads) == reads


def test_the_link_has_no_step_and_no_end():
    """Scores far below 0 take another formula, and stay finite with their gradient."""
    link = Link(*torch.tensor([3.0, 1.5, 0.2], dtype=torch.float64))
    log_prior = torch.full((2,), 0.5, dtype=torch.float64).log()
    edge = LINEAR / torch.tensor(3.0).exp() - 0.5
    scores = torch.tensor([[edge - 1e-9, edge + 1e-9], [-1e3, 0.9]], dtype=torch.float64, requires_grad=True)
    logits = link.logits(scores, log_prior)
    assert (logits[0, 0] - logits[0, 1]).abs() < 1e-6
    logits.sum().backward()
    assert torch.isfinite(scores.grad).all()
    torch.testing.assert_close(scores.grad[0, 0], scores.grad[0, 1], atol=1e-6, rtol=0)
    assert logits.log_softmax(dim=1)[1, 0] < -1000
