"""A kernel head from training rows: what counts is learned by leaving rows out, the rest is solved.

The weights of the kernels, their widths and the strength of the regularisation are those under which the training rows
are most likely, each scored by a model without it.
"""

from collections.abc import Mapping, Sequence
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
    OF_TITLES,
    Comparable,
    KernelParameters,
    Prepared,
    has_of,
    learn_scaling,
    pattern_of,
    similarities,
    usable_by,
)
from ..runtime.seeds import derive_seed
from .kernel_solvers import (
    PRIOR_ROWS,
    START_LINK,
    Learned,
    Problem,
    Raw,
    draw_groups,
    solve_exactly,
    solve_on_landmarks,
)
from .left_out import LeftOut, blocks_of

# rows that are all support; beyond, landmarks drawn from them are
EXACT_ROWS, LANDMARKS = 20_000, 4096
# of memory for each pair of rows: the kernel matrix in both precisions, and its factor
BYTES_A_PAIR = 24
# what the parameters of the kernels are learned by, in single precision: rows and steps; the later go on from the
# earlier, where there are more rows
LEARN = ((800, 12), (1600, 6))
# stands for the loss where a step led to nothing finite, so that the line search turns back
BAD_LOSS = 1e3
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
        undoubted: float32 (k, classes), probabilities without the rows with the most doubtful labels besides; None
            where there are landmarks.
    """

    solution: Solution
    rows: np.ndarray
    log_likelihood: np.ndarray
    undoubted: np.ndarray | None


@dataclass(frozen=True)
class FittedHead:
    """A head, and what is known of the rows that it was trained on.

    Attributes:
        head: see there.
        loss: the mean of -log p(true class) of training rows that were left out.
        left_out: float32 (n, classes), probabilities of each training row by a head without it, without its group and
            without the rows whose labels are the most doubtful; None where there are landmarks.
    """

    head: KernelHead
    loss: float
    left_out: np.ndarray | None


def fit_kernel_head(
    table: Prepared,
    chosen: np.ndarray,
    targets: np.ndarray,
    classes: int,
    kernels: Sequence[str],
    groups: Sequence[str] | None,
    seed: int,
) -> FittedHead:
    """Learn and solve.

    Args:
        table: rows.
        chosen: int64 (n,), positions of those that are trained on.
        targets: int64 (n,), of these.
        classes: how many there are.
        kernels: that are summed.
        groups: of these; those of one group are left out together. None where each row stands alone.
        seed: of what is drawn: rows to learn from, landmarks.

    Raises:
        TrainingError: no row has what the kernels compare.
    """
    for name, values in (("layers", table.inputs.layers), ("outline", table.inputs.outlines)):
        if not values.shape[1]:  # as of a tower that doesn't tell its layers
            kernels = [other for other in kernels if other != name]
    rng = np.random.default_rng(derive_seed(seed, "kernel head"))
    support = np.arange(len(targets))
    most = most_exact_rows()
    if len(targets) > most:
        # where memory is short, it has no room for more landmarks either
        count = LANDMARKS if most == EXACT_ROWS else min(LANDMARKS, most)
        support = np.sort(rng.choice(len(targets), count, replace=False))
    has = has_of(table.inputs)[chosen]
    parts = {name: names for name, names in _parts(kernels, has).items() if usable_by(has[support], names).any()}
    if not parts:
        raise TrainingError(
            f"model.kernels: {', '.join(kernels)} compare nothing here: no training row has a picture or text for them"
        )
    # nothing is learned of what no solution compares: of rows that are scored later it isn't even read
    kernels = [name for name in KERNELS if any(name in names for names in parts.values())]
    table = table.of_kernels(kernels)
    scaling = learn_scaling(table, chosen, kernels)
    rows = Comparable(table, scaling, chosen)
    counts = np.bincount(targets, minlength=classes)
    log_prior = torch.from_numpy(np.log(np.maximum(counts, 0.5) / len(targets)))
    numbers = np.unique(groups, return_inverse=True)[1] if groups is not None else np.arange(len(targets))
    whole = Problem(rows, targets, numbers, log_prior)
    learned = {name: _learn(whole, names, rng) for name, names in parts.items()}
    supported = rows.take(support).compared()
    solve = solve_exactly if len(support) == len(targets) else solve_on_landmarks
    solved = {name: _judge(whole, raw) for name, raw in solve(whole, support, supported, learned, rng).items()}
    solutions = {name: each.solution for name, each in solved.items()}
    routes = {pattern: _route(pattern, solved, has) for pattern in PATTERNS}
    head = KernelHead(scaling, supported, log_prior.float(), solutions, {k: v for k, v in routes.items() if v})
    first = next(iter(solved.values()))
    return FittedHead(head, -float(first.log_likelihood.mean()), _left_out(head, solved, has))


def most_exact_rows() -> int:
    """How many rows may all be support: as many as half of the free memory has room for, at most EXACT_ROWS."""
    return min(EXACT_ROWS, int((psutil.virtual_memory().available / 2 / BYTES_A_PAIR) ** 0.5))


def _parts(kernels: Sequence[str], has: np.ndarray) -> dict[str, list[str]]:
    """The kernels of each solution: of all of them, of those of texts and those of pictures alone."""
    pictures, texts, titles = (bool(column.any()) for column in has.T)
    of_pictures = [name for name in KERNELS if name in OF_PICTURES & set(kernels) and pictures]
    of_texts = [name for name in KERNELS if name in OF_TEXTS & set(kernels) and texts]
    if not titles:
        of_texts = [name for name in of_texts if name not in OF_TITLES]
    product = "product" in kernels and bool(pattern_of(has, (True, True)).any())
    found: dict[str, list[str]] = {}
    if (of_pictures and of_texts) or product:
        found["both"] = [name for name in KERNELS if name in (*of_pictures, *of_texts, *["product"] * product)]
    if of_texts:
        found["text"] = [*of_texts]
    if of_pictures:
        found["picture"] = [*of_pictures]
    return found


def _route(pattern: str, solved: dict[str, Solved], has: np.ndarray) -> str:
    """Name of the solution for rows of a pattern: of those that compare what such a row has, the likelier one."""
    own = pattern if pattern in solved else ""
    if "both" not in solved:
        return own or next((name for name in ("text", "picture") if pattern == "both" and name in solved), "")
    if not own or pattern == "both":
        return "both"
    likelihoods = {}
    for name in (own, "both"):
        each = solved[name]
        alike = pattern_of(has[each.rows], PATTERNS[pattern])
        if alike.sum() < ROUTE_ROWS:
            return own
        likelihoods[name] = float(each.log_likelihood[alike].mean())
    return max(likelihoods, key=lambda name: likelihoods[name])


def _judge(whole: Problem, raw: Raw) -> Solved:
    """A solution as it is served, and how likely it makes the rows that were left out."""
    truth = torch.from_numpy(whole.targets[raw.rows])
    solution = Solution(raw.parameters, raw.alpha.float(), raw.link)
    likelihood = solution.log_probabilities(raw.scores, whole.log_prior)[torch.arange(len(truth)), truth]
    undoubted = None
    if raw.undoubted is not None:
        undoubted = solution.log_probabilities(raw.undoubted, whole.log_prior).exp().float().numpy()
    return Solved(solution, raw.rows, likelihood.numpy(), undoubted)


def _left_out(head: KernelHead, solved: Mapping[str, Solved], has: np.ndarray) -> np.ndarray | None:
    """See `FittedHead`; the classes' shares for a row that has nothing to go by."""
    found: np.ndarray = head.log_prior.softmax(dim=0).repeat(len(has), 1).numpy()
    for pattern, name in head.routes.items():
        each = solved[name]
        if each.undoubted is None:
            return None
        alike = pattern_of(has[each.rows], PATTERNS[pattern])
        found[each.rows[alike]] = each.undoubted[alike]
    return found


def _learn(whole: Problem, kernels: Sequence[str], rng: np.random.Generator) -> Learned:
    """The parameters and the ridge under which rows that are left out are likeliest, learned on some rows."""
    problem = whole.take(np.flatnonzero(usable_by(whole.rows.has, kernels)))
    start = KernelParameters.start(kernels)
    values = torch.tensor([*start.tensors(), np.log(START_LAMBDA), *START_LINK], dtype=torch.float64)
    learned = 0
    for rows, steps in LEARN:
        if learned == len(problem.targets):
            break
        drawn = draw_groups(problem.groups, rows, rng)
        learned = len(drawn)
        values = _descend(problem.take(drawn), start, values, steps)
    *tensors, log_ridge, _, _, _ = values.unbind()
    return Learned(start.replaced(tensors), float(log_ridge.exp()) + LEAST_LAMBDA)


def _descend(problem: Problem, start: KernelParameters, values: torch.Tensor, steps: int) -> torch.Tensor:
    """Some steps of L-BFGS from `values`, float64 (parameters of the kernels, ridge, link)."""
    from scipy.optimize import minimize  # here, since scoring doesn't need it

    # the link is drawn as it is where it is fitted at the end
    anchors = torch.tensor([*start.tensors(), *START_LINK], dtype=torch.float64)
    compared = problem.rows.compared()
    cosines = similarities(compared, compared, start.kernels)
    encoded, targets = problem.encoded().float(), torch.from_numpy(problem.targets)
    blocks = blocks_of(problem.groups)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        tried = torch.from_numpy(at.copy()).requires_grad_()
        *tensors, log_ridge, log_sharpness, power, prior_power = tried.unbind()
        matrix = start.replaced(tensors).combine(cosines, compared.has, compared.has)
        regularised = matrix + (log_ridge.exp() + LEAST_LAMBDA).float() * torch.eye(len(matrix))
        try:
            scores = LeftOut.apply(regularised, encoded, blocks)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            # rows so alike that single precision can't tell them apart
            return BAD_LOSS, np.zeros_like(at)
        logits = Link(log_sharpness, power, prior_power).logits(scores.double(), problem.log_prior)
        drawn = torch.stack([*tensors, log_sharpness, power, prior_power])
        moved = (drawn - anchors).square().sum()
        found = F.cross_entropy(logits, targets) + PRIOR_ROWS / len(targets) * moved
        found.backward()  # type: ignore[no-untyped-call]
        assert tried.grad is not None  # noqa: S101 - it is a leaf
        gradient = tried.grad.numpy()
        if not np.isfinite([float(found.detach()), *gradient]).all():
            return BAD_LOSS, np.zeros_like(at)
        return float(found.detach()), gradient

    # as many evaluations as steps, give or take: each costs a factorisation
    options = {"maxiter": steps, "maxfun": steps + 2, "maxcor": 20}
    found = minimize(loss, values.numpy(), jac=True, method="L-BFGS-B", options=options).x
    return torch.from_numpy(found)
