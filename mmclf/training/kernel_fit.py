"""A kernel head from training rows: what counts is learned by leaving rows out, the rest is solved.

The weights of the kernels, their widths and the strength of the regularisation are those under which the training rows
are most likely, each scored by a model without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch.nn import functional as F

from ..config import KERNELS
from ..errors import TrainingError
from ..model.kernel_head import PATTERNS, KernelHead, Link, Solution
from ..model.kernels import (
    OF_PICTURES,
    OF_TEXTS,
    Compared,
    KernelParameters,
    Prepared,
    compare_by,
    learn_scaling,
    similarities,
)
from ..runtime.seeds import derive_seed
from .kernel_solvers import (
    PRIOR_ROWS,
    START_LINK,
    Problem,
    draw_groups,
    learn_link,
    solve_exactly,
    solve_on_landmarks,
)
from .left_out import LeftOut, blocks_of

# rows that are all support; beyond, landmarks drawn from them are
EXACT_ROWS, LANDMARKS = 20_000, 4096
# of memory for each pair of rows: the kernel matrix in both precisions, and its factor
BYTES_A_PAIR = 24
# what the parameters of the kernels are learned by: rows, steps, their rate and precision; the later go on from the
# earlier, where there are more rows
LEARN = ((800, 30, 0.2, torch.float64), (1600, 8, 0.1, torch.float32))
# rows of a kind that must be there, for a choice between two solutions by their likelihood
ROUTE_ROWS = 30
START_LAMBDA, LEAST_LAMBDA = 0.3, 1e-4


@dataclass(frozen=True)
class Solved:
    """A solution and the training rows' scores without them.

    Attributes:
        solution: see there.
        rows: int64 (k,), positions of the rows that were left out.
        log_likelihood: float64 (k,), of the true class.
    """

    solution: Solution
    rows: np.ndarray
    log_likelihood: np.ndarray


@dataclass(frozen=True)
class FittedHead:
    """A head, and the mean of -log p(true class) of training rows that were left out."""

    head: KernelHead
    loss: float


def fit_kernel_head(
    rows: Prepared, targets: np.ndarray, classes: int, kernels: Sequence[str], groups: Sequence[str] | None, seed: int
) -> FittedHead:
    """Learn and solve.

    Args:
        rows: of the training, n of them.
        targets: int64 (n,).
        classes: how many there are.
        kernels: that are summed.
        groups: of the rows; those of one group are left out together. None where each row stands alone.
        seed: of what is drawn: rows to learn from, landmarks.

    Raises:
        TrainingError: no row has what the kernels compare.
    """
    scaling = learn_scaling(rows, kernels)
    compared = compare_by(rows, scaling)
    counts = np.bincount(targets, minlength=classes)
    log_prior = torch.from_numpy(np.log(np.maximum(counts, 0.5) / len(targets)))
    numbers = np.unique(groups, return_inverse=True)[1] if groups is not None else np.arange(len(targets))
    whole = Problem(compared, targets, numbers, log_prior)
    rng = np.random.default_rng(derive_seed(seed, "kernel head"))
    support = np.arange(len(targets))
    most = most_exact_rows()
    if len(targets) > most:
        # where memory is short, it has no room for more landmarks either
        count = LANDMARKS if most == EXACT_ROWS else min(LANDMARKS, most)
        support = np.sort(rng.choice(len(targets), count, replace=False))
    supported = compared.take(support)
    solved = {
        name: _solve(whole, support, names, rng)
        for name, names in _parts(kernels, compared).items()
        if supported.usable(names).any()
    }
    if not solved:
        raise TrainingError(
            f"model.kernels: {', '.join(kernels)} compare nothing here: no training row has a picture or text for them"
        )
    solutions = {name: each.solution for name, each in solved.items()}
    routes = {pattern: _route(pattern, solved, compared) for pattern in PATTERNS}
    head = KernelHead(scaling, supported, log_prior.float(), solutions, {k: v for k, v in routes.items() if v})
    first = next(iter(solved.values()))
    return FittedHead(head, -float(first.log_likelihood.mean()))


def most_exact_rows() -> int:
    """How many rows may all be support: as many as half of the free memory has room for, at most EXACT_ROWS."""
    return min(EXACT_ROWS, int((psutil.virtual_memory().available / 2 / BYTES_A_PAIR) ** 0.5))


def _parts(kernels: Sequence[str], rows: Compared) -> dict[str, list[str]]:
    """The kernels of each solution: of all of them, of those of texts and those of pictures alone."""
    pictures, texts, titles = (bool(has.any()) for has in rows.has.T)
    of_pictures = [name for name in KERNELS if name in OF_PICTURES & set(kernels) and pictures]
    of_texts = [name for name in KERNELS if name in OF_TEXTS & set(kernels) and texts]
    if not titles:
        of_texts = [name for name in of_texts if name != "title"]
    product = "product" in kernels and bool(rows.pattern((True, True)).any())
    found: dict[str, list[str]] = {}
    if (of_pictures and of_texts) or product:
        found["both"] = [name for name in KERNELS if name in (*of_pictures, *of_texts, *["product"] * product)]
    if of_texts:
        found["text"] = [*of_texts]
    if of_pictures:
        found["picture"] = [*of_pictures]
    return found


def _route(pattern: str, solved: dict[str, Solved], rows: Compared) -> str:
    """Name of the solution for rows of a pattern: of those that compare what such a row has, the likelier one."""
    own = pattern if pattern in solved else ""
    if "both" not in solved:
        return own or next((name for name in ("text", "picture") if pattern == "both" and name in solved), "")
    if not own or pattern == "both":
        return "both"
    likelihoods = {}
    for name in (own, "both"):
        each = solved[name]
        alike = rows.pattern(PATTERNS[pattern])[each.rows]
        if alike.sum() < ROUTE_ROWS:
            return own
        likelihoods[name] = float(each.log_likelihood[alike].mean())
    return max(likelihoods, key=lambda name: likelihoods[name])


def _solve(whole: Problem, support: np.ndarray, kernels: list[str], rng: np.random.Generator) -> Solved:
    """One solution: parameters learned on some rows, weights from all of them."""
    usable = np.flatnonzero(whole.rows.usable(kernels))
    parameters, ridge = _learn(whole.take(usable), kernels, rng)
    if len(support) == len(whole.targets):
        rows, alpha, scores = solve_exactly(whole, usable, parameters, ridge)
    else:
        rows, alpha, scores = solve_on_landmarks(whole, usable, support, parameters, ridge, rng)
    link, _ = learn_link(scores, whole.targets[rows], whole.log_prior)
    solution = Solution(parameters, alpha.float(), link)
    likelihood = solution.log_probabilities(scores, whole.log_prior)
    return Solved(solution, rows, likelihood[torch.arange(len(rows)), torch.from_numpy(whole.targets[rows])].numpy())


def _learn(problem: Problem, kernels: Sequence[str], rng: np.random.Generator) -> tuple[KernelParameters, float]:
    """The parameters and the ridge under which rows that are left out are likeliest."""
    start = KernelParameters.start(kernels)
    values = torch.tensor([*start.tensors(), np.log(START_LAMBDA), *START_LINK], dtype=torch.float64)
    learned = 0
    for rows, steps, rate, kind in LEARN:
        if learned == len(problem.targets):
            break
        drawn = draw_groups(problem.groups, rows, rng)
        learned = len(drawn)
        values = _descend(problem.take(drawn), start, values, steps, rate, kind)
    *tensors, log_ridge, _, _, _ = values.unbind()
    return start.replaced(tensors), float(log_ridge.exp()) + LEAST_LAMBDA


def _descend(
    problem: Problem, start: KernelParameters, values: torch.Tensor, steps: int, rate: float, kind: torch.dtype
) -> torch.Tensor:
    """Some steps from `values`, float64 (parameters of the kernels, ridge, link), with matrices of a kind."""
    anchors = torch.stack(start.tensors())
    values = values.clone().requires_grad_()
    cosines = {name: each.to(kind) for name, each in similarities(problem.rows, problem.rows, start.kernels).items()}
    encoded, targets = problem.encoded().to(kind), torch.from_numpy(problem.targets)
    blocks = blocks_of(problem.groups)
    optimizer = torch.optim.Adam([values], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        *tensors, log_ridge, log_sharpness, power, prior_power = values.unbind()
        matrix = start.replaced(tensors).combine(cosines, problem.rows.has, problem.rows.has)
        regularised = matrix + (log_ridge.exp() + LEAST_LAMBDA).to(kind) * torch.eye(len(matrix), dtype=kind)
        scores = LeftOut.apply(regularised, encoded, blocks)
        logits = Link(log_sharpness, power, prior_power).logits(scores.double(), problem.log_prior)
        moved = (torch.stack(tensors) - anchors).square().sum()
        loss = F.cross_entropy(logits, targets) + PRIOR_ROWS / len(targets) * moved
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return values.detach()
