"""A head of the classes' names: what it goes by, and that it comes back from a file as it was.

.venv/bin/python -m pytest tests/model/test_zero_shot.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmclf.model.alignment import unit
from mmclf.model.head_inputs import HeadInputs
from mmclf.model.zero_shot import ZeroShotHead, class_vectors, prompts_of

CLASSES, WIDTH = 4, 12


def make_head(sides=("picture", "text"), **scales) -> ZeroShotHead:
    names = unit(np.random.default_rng(0).normal(size=(CLASSES, WIDTH)))
    known = scales or {"both": [20.0, 10.0], "picture": [30.0, 0.0], "text": [0.0, 15.0]}
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
    tensors = {pattern: torch.tensor(each, dtype=torch.float64) for pattern, each in known.items()}
    return ZeroShotHead(torch.from_numpy(names), sides, tensors, shares.log())


def draw_rows(head, rows=40, seed=1):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, rows)
    images, texts = 3 * head.classes.numpy()[targets] + rng.normal(size=(2, rows, WIDTH)) / 2
    has = np.arange(rows) % 4
    strings = ["" if each == 1 else "a" for each in has]
    return HeadInputs.of(strings, images.astype(np.float32), has != 2, texts.astype(np.float32)), targets


def test_it_finds_the_nearest_name_and_sums_to_one():
    head = make_head()
    rows, targets = draw_rows(head)
    found = head.probabilities(rows)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-6)
    assert (found.argmax(dim=1).numpy() == targets).mean() > 0.9
    row = rows.take(np.array([0]))
    picture, text = unit(row.images) @ head.classes.numpy().T, unit(row.texts) @ head.classes.numpy().T
    expected = torch.softmax(torch.from_numpy(20 * picture[0] + 10 * text[0]), dim=0)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


def test_what_a_row_has_not_counts_for_nothing():
    head = make_head()
    rows, _ = draw_rows(head)
    other = replace(
        rows,
        images=np.where(rows.has_picture[:, None], rows.images, np.float32(7)),
        texts=np.where(rows.has_text[:, None], rows.texts, np.float32(7)),
    )
    assert torch.equal(head.probabilities(other), head.probabilities(rows))


def test_with_nothing_to_go_by_it_answers_the_classes_shares():
    row = HeadInputs.of([""], np.ones((1, WIDTH), np.float32), np.array([False]), np.ones((1, WIDTH), np.float32))
    np.testing.assert_allclose(make_head().probabilities(row)[0], [0.4, 0.3, 0.2, 0.1], atol=1e-6)
    text = replace(row, strings=["a"])
    found = make_head(both=[20.0, 10.0], picture=[30.0, 0.0]).probabilities(text)[0]
    np.testing.assert_allclose(found, [0.4, 0.3, 0.2, 0.1], atol=1e-6)


def test_it_comes_back_from_its_tensors_to_the_bit():
    head = make_head()
    again = ZeroShotHead.from_tensors({name: tensor.clone() for name, tensor in head.tensors().items()})
    rows, _ = draw_rows(head)
    assert torch.equal(again.probabilities(rows), head.probabilities(rows))
    assert again.scales.keys() == head.scales.keys()


def test_texts_alone_are_compared_by_towers_that_were_trained_apart():
    head = make_head(["text"], both=[0.0, 15.0], text=[0.0, 15.0])
    rows, targets = draw_rows(head)
    other = replace(rows, images=np.ones((len(rows), WIDTH + 5), np.float32))  # not even as wide as the names
    found = head.probabilities(other)
    assert head.reads == ["text"]
    assert head.widths == {"text": WIDTH}
    assert (found.argmax(dim=1).numpy() == targets)[rows.has_text].mean() > 0.9
    np.testing.assert_allclose(found[~rows.has_text], [[0.4, 0.3, 0.2, 0.1]] * int((~rows.has_text).sum()), atol=1e-6)
    assert torch.equal(head.probabilities(other.without_picture()), found)
    again = ZeroShotHead.from_tensors(head.tensors())
    assert again.reads == ["text"]
    assert torch.equal(again.probabilities(other), found)


def test_tensors_that_do_not_fit_are_refused():
    tensors = make_head().tensors()
    with pytest.raises(KeyError):
        ZeroShotHead.from_tensors({name: tensor for name, tensor in tensors.items() if name != "classes"})
    with pytest.raises(ValueError, match=r"classes is \(3, 12\), log_prior \(4,\)"):
        ZeroShotHead.from_tensors(tensors | {"classes": tensors["classes"][:-1]})
    with pytest.raises(ValueError, match=r"scales\.text is \(1,\)"):
        ZeroShotHead.from_tensors(tensors | {"scales.text": tensors["scales.text"][:1]})


def test_a_class_is_the_mean_direction_of_its_sentences():
    assert prompts_of(["mug", "{hat}"], ["a {}", "{}"]) == ["a mug", "mug", "a {hat}", "{hat}"]
    features = np.array([[3.0, 0.0], [0.0, 9.0], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(class_vectors(features, 2), [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-6)
