"""What is learned by leaving rows out is what leaving them out would give, and landmarks stand for rows.

.venv/bin/python -m pytest tests/training/test_kernel_fit.py
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmclf.config import KERNELS
from mmclf.errors import TrainingError
from mmclf.model import kernels as kernels_module
from mmclf.model.kernels import START_WEIGHTS, Comparable, KernelParameters, Prepared, learn_scaling
from mmclf.training import kernel_fit as module
from mmclf.training import kernel_solvers as solvers
from mmclf.training.kernel_fit import fit_kernel_head
from mmclf.training.left_out import LeftOut, blocks_of, scores_without_these
from tests.products import CLASSES, NOUNS, draw_products


def fit(inputs, targets, kernels=KERNELS, groups=None, seed=0):
    return fit_kernel_head(
        Prepared.of(inputs, kernels), np.arange(len(inputs)), targets, CLASSES, list(kernels), groups, seed
    )


def problem(rows=40, groups=None):
    inputs, targets = draw_products(rows)
    prepared = Prepared.of(inputs, KERNELS)
    log_prior = torch.log(torch.from_numpy(np.bincount(targets, minlength=CLASSES) / rows))
    groups = np.arange(rows) if groups is None else groups
    every = np.arange(rows)
    comparable = Comparable(prepared, learn_scaling(prepared, every, KERNELS), every)
    return solvers.Problem(comparable, targets, groups, log_prior)


def left_out_by_hand(matrix, encoded, groups, these=()):
    """Solve without each group in turn, and without these rows; `matrix` with the ridge on its diagonal."""
    scores = torch.empty_like(encoded)
    used = ~np.isin(np.arange(len(groups)), these)
    for group in np.unique(groups):
        out = torch.from_numpy(np.flatnonzero(groups == group))
        rest = torch.from_numpy(np.flatnonzero((groups != group) & used))
        weights = torch.linalg.solve(matrix[rest][:, rest], encoded[rest])
        scores[out] = matrix[out][:, rest] @ weights
    return scores


GROUPS = [np.arange(40), np.arange(40) // 3, np.arange(40) % 7 % 4]


@pytest.mark.parametrize("groups", GROUPS)
def test_scores_without_a_group_are_those_of_a_model_without_it(groups):
    task = problem(groups=groups)
    parameters = KernelParameters.start(KERNELS)
    compared, learned = task.rows.compared(), {"both": solvers.Learned(parameters, 0.3)}
    raw = solvers.solve_exactly(task, np.arange(40), compared, learned, np.random.default_rng(0))["both"]
    matrix = solvers.kernel_matrix(compared, compared, parameters).double()
    matrix.diagonal().add_(0.3)
    torch.testing.assert_close(raw.scores, left_out_by_hand(matrix, task.encoded(), groups), atol=1e-9, rtol=0)
    torch.testing.assert_close(matrix @ raw.alpha, task.encoded(), atol=1e-9, rtol=0)
    assert raw.rows.tolist() == list(range(40))


@pytest.mark.parametrize("groups", GROUPS)
def test_scores_without_more_rows_are_those_of_a_model_without_them(groups):
    task = problem(groups=groups)
    compared = task.rows.compared()
    matrix = solvers.kernel_matrix(compared, compared, KernelParameters.start(KERNELS)).double()
    matrix.diagonal().add_(0.3)
    inverse, encoded = torch.linalg.inv(matrix), task.encoded()
    these = np.flatnonzero(np.isin(groups, groups[[5, 17]]))
    found = scores_without_these(inverse, inverse @ encoded, encoded, groups, these)
    torch.testing.assert_close(found, left_out_by_hand(matrix, encoded, groups, these), atol=1e-9, rtol=0)


def test_a_label_is_judged_without_itself_and_without_other_wrong_ones():
    """A product twice, once with a wrong label: by all others the right one of the two would be doubted as well."""
    inputs, targets = draw_products(400, without=0.0, noise=0.5)
    again = inputs.take(np.r_[np.arange(400), 0:8])
    wrong = np.r_[targets, (targets[:8] + 1) % CLASSES]
    fitted = fit(again, wrong)
    beliefs = fitted.left_out
    assert beliefs.dtype == np.float32
    np.testing.assert_allclose(beliefs.sum(axis=1), 1, atol=1e-5)
    assert (beliefs[400:].argmax(axis=1) == targets[:8]).all()
    assert beliefs[np.arange(8), targets[:8]].min() > 0.7
    # twins that are left out together say nothing of each other either
    together = fit(again, wrong, groups=[str(row % 400) for row in range(408)]).left_out
    assert together[np.arange(8), targets[:8]].min() > 0.7


def test_where_there_are_landmarks_no_row_is_judged_by_the_others(monkeypatch):
    inputs, targets = draw_products(120)
    assert fit(inputs, targets).left_out.shape == (120, CLASSES)
    monkeypatch.setattr(module, "EXACT_ROWS", 100)
    monkeypatch.setattr(module, "LANDMARKS", 60)
    assert fit(inputs, targets).left_out is None


@pytest.mark.parametrize("groups", GROUPS)
def test_the_gradient_of_what_is_learned_is_right(groups):
    task = problem(rows=40, groups=groups)
    compared = task.rows.compared()
    matrix = solvers.kernel_matrix(compared, compared, KernelParameters.start(KERNELS)).double()
    matrix = matrix[:12, :12].contiguous()
    encoded, blocks = task.encoded()[:12], blocks_of(groups[:12])
    matrix.diagonal().add_(0.3)
    matrix.requires_grad_()
    # symmetric changes only: a kernel matrix has no others
    assert torch.autograd.gradcheck(
        lambda changed: LeftOut.apply((changed + changed.T) / 2, encoded, blocks), (matrix,)
    )


@pytest.mark.parametrize("groups", [None, [str(row // 2) for row in range(120)]])
def test_with_every_row_a_landmark_it_is_the_exact_solution(groups, monkeypatch):
    inputs, targets = draw_products(120)
    exact = fit(inputs, targets, groups=groups)
    monkeypatch.setattr(module, "EXACT_ROWS", 100)
    monkeypatch.setattr(module, "LANDMARKS", 120)
    approximate = fit(inputs, targets, groups=groups)
    others, _ = draw_products(80, seed=1)
    difference = approximate.head.probabilities(others) - exact.head.probabilities(others)
    assert difference.abs().max() < 2e-3
    assert approximate.loss == pytest.approx(exact.loss, abs=1e-3)
    assert approximate.head.routes == exact.head.routes


def test_beyond_the_switch_landmarks_are_support_and_little_is_lost(monkeypatch):
    inputs, targets = draw_products(600)
    others, truth = draw_products(400, seed=1)
    exact = fit(inputs, targets)
    assert len(exact.head.support) == 600
    monkeypatch.setattr(module, "EXACT_ROWS", 599)
    monkeypatch.setattr(module, "LANDMARKS", 150)
    approximate = fit(inputs, targets)
    assert len(approximate.head.support) == 150

    def losses(fitted):
        found = fitted.head.probabilities(others)
        return -found[torch.arange(400), torch.from_numpy(truth)].log().mean()

    assert losses(approximate) < losses(exact) + 0.02
    # its own estimate, by leaving rows out, is what new rows show
    assert approximate.loss == pytest.approx(float(losses(approximate)), abs=0.1)


def test_a_table_that_is_gone_through_in_parts_gives_the_same(monkeypatch):
    """Its terms counted part by part, and some parts without a row that a solution can use."""
    inputs, targets = draw_products(300)
    inputs = inputs.take(np.argsort(inputs.has_picture, kind="stable"))
    monkeypatch.setattr(module, "EXACT_ROWS", 299)
    monkeypatch.setattr(module, "LANDMARKS", 64)
    whole = fit(inputs, targets)
    monkeypatch.setattr(kernels_module, "COUNTED_ROWS", 0)
    monkeypatch.setattr(kernels_module, "STEP", 50)
    monkeypatch.setattr(solvers, "BLOCK", 64 * 17)
    parts = fit(inputs, targets)
    others, _ = draw_products(80, seed=1)
    torch.testing.assert_close(parts.head.probabilities(others), whole.head.probabilities(others), atol=1e-5, rtol=0)
    assert parts.head.routes == whole.head.routes


def test_a_kernel_that_tells_more_gets_more_weight():
    inputs, targets = draw_products(200, without=0.0)
    noise = np.random.default_rng(5).normal(size=inputs.texts.shape).astype(np.float32)
    told = fit(replace(inputs, texts=noise), targets, ["image", "text"])
    weights = told.head.solutions["both"].parameters.log_weights
    assert weights["image"] - weights["text"] > 1


def test_a_title_tells_more_than_a_text_of_noise():
    """As where a short title names the product and a long description praises it."""
    inputs, targets = draw_products(200, without=0.0)
    noise = np.random.default_rng(5).normal(size=inputs.texts.shape).astype(np.float32)
    told = replace(inputs, texts=noise, titles=inputs.texts)
    fitted = fit(told, targets, ["image", "text", "title"])
    weights = fitted.head.solutions["both"].parameters.log_weights
    assert weights["title"] > weights["text"]
    assert fitted.loss < fit(told, targets, ["image", "text"]).loss - 0.05
    untitled = fit(replace(told, title_strings=[""] * 200), targets, ["image", "text", "title"]).head
    assert "title" not in untitled.kernels


def test_a_titles_characters_tell_more_than_those_of_a_long_text():
    """As where a title names the product, and its words are lost among those of the description."""
    inputs, targets = draw_products(200, without=0.0)
    rng = np.random.default_rng(6)
    titles = [f"{NOUNS[target] if rng.random() < 0.9 else 'thing'} {rng.integers(99)}" for target in targets]
    strings = [f"{title} " + " ".join(rng.choice(NOUNS, 9)) for title in titles]
    told = replace(inputs, strings=strings, title_strings=titles)
    fitted = fit(told, targets, ["chars", "title_chars"])
    weights = fitted.head.solutions["text"].parameters.log_weights
    assert weights["title_chars"] - weights["chars"] > START_WEIGHTS["title_chars"] + 1
    assert fitted.loss < fit(told, targets, ["chars"]).loss - 0.05
    untitled = fit(replace(told, title_strings=[""] * 200), targets, ["chars", "title_chars"]).head
    assert "title_chars" not in untitled.kernels


def test_more_rows_go_on_from_what_fewer_taught(monkeypatch):
    """And where there are no more rows, nothing is done again."""
    inputs, targets = draw_products(200, without=0.0, noise=2.0)
    few = np.arange(50)

    def both(stages):
        monkeypatch.setattr(module, "LEARN", stages)
        return fit(inputs, targets), fit(inputs.take(few), targets[few])

    first = (60, 4)
    (short, short_few), (long, long_few) = both((first,)), both((first, (200, 6)))
    assert long.loss < short.loss
    for name, tensor in short_few.head.tensors().items():
        assert torch.equal(tensor, long_few.head.tensors()[name])


def test_a_step_to_where_nothing_can_be_solved_is_turned_back(monkeypatch):
    """As single precision can't, where many rows are alike and the ridge is small."""
    inputs, targets = draw_products(200, without=0.0, noise=2.0)
    undisturbed = fit(inputs, targets)
    apply, calls = LeftOut.apply, itertools.count()

    def failing(*args):
        if (call := next(calls)) % 9 == 3:
            raise torch.linalg.LinAlgError("not positive-definite")
        return apply(*args) * (torch.nan if call % 9 == 6 else 1)

    monkeypatch.setattr(module.LeftOut, "apply", failing)
    assert fit(inputs, targets).loss < undisturbed.loss + 0.05


def test_rows_that_are_few_products_again_and_again_are_learned():
    inputs, targets = draw_products(4, without=0.0)
    again = np.repeat(np.arange(4), 100)
    found = fit(inputs.take(again), targets[again])
    assert found.head.probabilities(inputs).numpy().argmax(axis=1).tolist() == targets.tolist()
    assert found.loss < 0.1


def test_it_is_calibrated_on_rows_that_it_has_not_seen():
    inputs, targets = draw_products(300, without=0.0, noise=2.5)
    others, truth = draw_products(2000, seed=1, without=0.0, noise=2.5)
    found = fit(inputs, targets).head.probabilities(others).numpy()
    hits = found.argmax(axis=1) == truth
    assert 0.5 < hits.mean() < 0.95
    assert found.max(axis=1).mean() == pytest.approx(hits.mean(), abs=0.04)


def test_groups_are_not_what_it_learns_by():
    """Every product twice: left out one by one, each would have its twin."""
    inputs, targets = draw_products(60, noise=4.0, without=0.0)
    twice = inputs.take(np.repeat(np.arange(60), 2))
    groups = [str(row // 2) for row in range(120)]
    truths = np.repeat(targets, 2)
    assert fit(twice, truths).loss < 0.2
    assert fit(twice, truths, groups=groups).loss > 0.5


def test_rows_without_a_picture_have_their_own_solution_where_it_is_likelier():
    inputs, targets = draw_products(200, without=0.0)
    routes = fit(inputs, targets).head.routes
    assert routes == {"both": "both", "text": "text", "picture": "picture"}
    assert fit(inputs, targets, ["words", "chars"]).head.routes == {"both": "text", "text": "text"}
    assert fit(inputs, targets, ["image"]).head.routes == {"both": "picture", "picture": "picture"}


def test_the_same_seed_gives_the_same_head():
    inputs, targets = draw_products(1000)  # more than it learns by, so that some are drawn
    first, second = fit(inputs, targets).head.tensors(), fit(inputs, targets).head.tensors()
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("has_text", [True, False])
def test_where_no_row_has_a_picture_the_rest_is_used(has_text):
    inputs, targets = draw_products(60, without=0.0)
    nothing = np.zeros(60, dtype=bool)
    strings = inputs.strings if has_text else [""] * 60
    bare = replace(inputs, has_picture=nothing, strings=strings, title_strings=strings)
    if has_text:
        assert fit(bare, targets).head.routes == {"both": "text", "text": "text"}
        return
    with pytest.raises(TrainingError, match="no training row has a picture or text"):
        fit(bare, targets)


def test_a_class_without_training_rows_is_possible_but_unlikely():
    inputs, targets = draw_products(100)
    known = np.flatnonzero(targets != 2)
    found = fit(inputs.take(known), targets[known]).head.probabilities(inputs)
    assert torch.isfinite(found).all()
    assert found[:, 2].max() < 0.2


def test_little_memory_means_fewer_landmarks(monkeypatch):
    """Fewer rows than landmarks, but more than there is room for; and no landmark with a text."""
    inputs, targets = draw_products(120, without=0.0)
    strings = [text if row == 0 else "" for row, text in enumerate(inputs.strings)]
    monkeypatch.setattr(module, "most_exact_rows", lambda: 60)
    head = fit(replace(inputs, strings=strings, title_strings=strings), targets).head
    assert len(head.support) == 60
    assert torch.isfinite(head.probabilities(inputs)).all()


def test_what_no_training_row_had_is_not_read_of_other_rows_either():
    inputs, targets = draw_products(40)
    head = fit(inputs.without_text(), targets).head
    assert set(head.reads) <= {"image", "layers", "outline"}
    unread = replace(inputs, texts=inputs.texts[:, :0], titles=inputs.titles[:, :0])
    assert torch.equal(head.probabilities(unread), head.probabilities(inputs.without_text()))
