"""A kernel regression solved: exactly, or on landmarks, and scored on rows that are left out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg.blas import dsyrk
from torch.nn import functional as F

from ..evaluation.label_errors import doubt
from ..model.kernel_head import Link
from ..model.kernels import BLOCK, Comparable, Compared, KernelParameters, kernel_parts, similarities, usable_by
from .left_out import blocks_of, scores_of_regression, scores_without, scores_without_these

# rows whose scores set the link, where there are landmarks
LINK_ROWS = 4096
# of the ridge, that are tried with landmarks
RIDGE_MULTIPLES = (1.0, 4.0, 16.0, 64.0, 256.0)
# how strongly what is learned is drawn to where it starts, in rows
PRIOR_ROWS = 1.0
# sharpness (its logarithm), power, power of the prior
START_LINK = (3.0, 1.0, 0.0)
# of the rows, those whose labels are the most doubtful, which are left out where labels are judged: measured in
# docs/lab-log.md, 2026-11-27
DOUBTFUL_SHARE = 0.02
# of a direction among the landmarks, as a share of a landmark's likeness to itself
LEAST_STRENGTH = 1e-4


@dataclass(frozen=True)
class Problem:
    """Training rows and what they should be.

    Attributes:
        rows: as kernels compare them, once they are taken.
        targets: int64 (n,).
        groups: int64 (n,), rows that are left out together.
        log_prior: float64 (classes,).
    """

    rows: Comparable
    targets: np.ndarray
    groups: np.ndarray
    log_prior: torch.Tensor

    def take(self, chosen: np.ndarray) -> "Problem":
        """Some of the rows."""
        return Problem(self.rows.take(chosen), self.targets[chosen], self.groups[chosen], self.log_prior)

    def encoded(self) -> torch.Tensor:
        """float64 (n, classes): 1 for the class of a row, less the share of each class."""
        classes = len(self.log_prior)
        return F.one_hot(torch.from_numpy(self.targets), classes).double() - self.log_prior.exp()


@dataclass(frozen=True)
class Learned:
    """How the kernels of a solution count, and the strength of its regularisation."""

    parameters: KernelParameters
    ridge: float


@dataclass(frozen=True)
class Raw:
    """A solution in double precision, and what it was judged by.

    Attributes:
        parameters: of its kernels.
        alpha: float64 (support, classes); 0 for rows without anything that is compared.
        link: under which the rows that were left out are likeliest.
        rows: int64 (k,), positions in the problem of rows that were left out.
        scores: float64 (k, classes), of these, without them.
        undoubted: the same without the rows with the most doubtful labels besides; None where there are landmarks.
    """

    parameters: KernelParameters
    alpha: torch.Tensor
    link: Link
    rows: np.ndarray
    scores: torch.Tensor
    undoubted: torch.Tensor | None = None


def learn_link(scores: torch.Tensor, targets: np.ndarray, log_prior: torch.Tensor) -> tuple[Link, float]:
    """The link under which rows that were left out are likeliest, and the mean of their -log p(true class)."""
    start = torch.tensor(START_LINK, dtype=torch.float64)
    values = start.clone().requires_grad_()
    truth = torch.from_numpy(targets)
    optimizer = torch.optim.LBFGS([values], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = F.cross_entropy(Link(*values.unbind()).logits(scores, log_prior), truth)
        found = found + PRIOR_ROWS / len(truth) * (values - start).square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    link = Link(*(value.clone() for value in values.detach().unbind()))
    return link, float(F.cross_entropy(link.logits(scores, log_prior), truth))


def solve_exactly(
    whole: Problem, support: np.ndarray, supported: Compared, learned: Mapping[str, Learned], rng: np.random.Generator
) -> dict[str, Raw]:
    """All rows are support. The arguments are those of `solve_on_landmarks`, and nothing is drawn."""
    return {name: _solve_exactly(whole, supported, each) for name, each in learned.items()}


def _solve_exactly(whole: Problem, supported: Compared, learned: Learned) -> Raw:
    usable = np.flatnonzero(usable_by(supported.has, learned.parameters.kernels))
    rows, encoded = supported.take(usable), whole.take(usable).encoded()
    matrix = kernel_matrix(rows, rows, learned.parameters).double()
    matrix.diagonal().add_(learned.ridge)
    factor = torch.linalg.cholesky(matrix)
    inverse = torch.cholesky_inverse(factor, out=matrix)  # its memory isn't needed any more
    alpha = inverse @ encoded
    everywhere = torch.zeros(len(whole.targets), alpha.shape[1], dtype=torch.float64)
    everywhere[torch.from_numpy(usable)] = alpha
    groups, targets = whole.groups[usable], whole.targets[usable]
    scores = scores_without(inverse, alpha, encoded, blocks_of(groups))
    link, _ = learn_link(scores, targets, whole.log_prior)
    these = _doubtful(link.logits(scores, whole.log_prior), targets, groups)
    undoubted = scores_without_these(inverse, alpha, encoded, groups, these) if len(these) else scores
    return Raw(learned.parameters, everywhere, link, usable, scores, undoubted)


def _doubtful(logits: torch.Tensor, targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Positions of the rows with the most doubtful labels, and of their groups; none where that were most of them."""
    beliefs = logits.softmax(dim=1).numpy()
    doubts = doubt(beliefs, targets)
    doubts[beliefs.argmax(axis=1) == targets] = -np.inf
    first = np.argsort(-doubts, kind="stable")[: int(DOUBTFUL_SHARE * len(targets))]
    found = np.flatnonzero(np.isin(groups, groups[first[np.isfinite(doubts[first])]]))
    return found if len(found) <= len(targets) // 2 else found[:0]


def solve_on_landmarks(
    whole: Problem, support: np.ndarray, supported: Compared, learned: Mapping[str, Learned], rng: np.random.Generator
) -> dict[str, Raw]:
    """Landmarks are support (Nyström): drawn rows.

    With K_mm = USUᵀ, a row's features are φ = S^-½ Uᵀ k_m, without the directions that single precision can't tell from
    nothing, and what is solved is a ridge regression on them. Its ridge is chosen anew, since landmarks tell less of a
    row than the row itself: the multiple of the learned one under which rows that are left out are likeliest. The rows
    are gone through once, for all solutions.

    Args:
        whole: all training rows.
        support: int64 (m,), positions of the landmarks.
        supported: these, as kernels compare them.
        learned: by name of solution.
        rng: draws the rows that are left out.
    """
    sums = {name: _Sums(supported, each, len(whole.log_prior)) for name, each in learned.items()}
    kernels = list(dict.fromkeys(name for each in learned.values() for name in each.parameters.kernels))
    step = max(1, BLOCK // len(support))
    for start in range(0, len(whole.targets), step):
        part = whole.take(np.arange(start, min(start + step, len(whole.targets))))
        rows, encoded = part.rows.compared(), part.encoded()
        cosines = similarities(rows, supported, kernels)
        for each in sums.values():
            each.add(rows.has, cosines, encoded)
    return {name: each.solve(whole, supported, rng) for name, each in sums.items()}


class _Sums:
    """KᵀK and KᵀY over the rows that a solution can use, K their kernel with its landmarks."""

    def __init__(self, supported: Compared, learned: Learned, classes: int) -> None:
        self._learned, self._has = learned, supported.has
        self._landmarks = np.flatnonzero(usable_by(supported.has, learned.parameters.kernels))
        count = len(self._landmarks)
        # float64, and of column order, so that BLAS adds to the upper half where it is
        self._squares = np.zeros((count, count), order="F")
        self._moments = torch.zeros(count, classes, dtype=torch.float64)

    def add(self, has: np.ndarray, cosines: dict[str, torch.Tensor], encoded: torch.Tensor) -> None:
        """Some rows, by their cosines with all of the support."""
        kernels = self._learned.parameters.kernels
        usable = np.flatnonzero(usable_by(has, kernels))
        if not len(usable):
            return
        matrix = self._learned.parameters.combine(cosines, has, self._has)
        if len(usable) < len(has):
            matrix = matrix[torch.from_numpy(usable)]
        if len(self._landmarks) < len(self._has):
            matrix = matrix[:, torch.from_numpy(self._landmarks)]
        exact = matrix.double()
        self._moments += exact.T @ encoded[torch.from_numpy(usable)]
        self._squares = dsyrk(1.0, exact.numpy().T, beta=1.0, c=self._squares, overwrite_c=True)

    def solve(self, whole: Problem, supported: Compared, rng: np.random.Generator) -> Raw:
        """The regression on the landmarks' features."""
        parameters, ridge = self._learned.parameters, self._learned.ridge
        landmarks = supported.take(self._landmarks)
        among = kernel_matrix(landmarks, landmarks, parameters).double()
        strengths, directions = torch.linalg.eigh(among)
        kept = strengths > LEAST_STRENGTH * among.diagonal().mean()
        whiten = directions[:, kept] / strengths[kept].sqrt()
        squares = torch.from_numpy(np.triu(self._squares) + np.triu(self._squares, 1).T)
        gram, moments = whiten.T @ squares @ whiten, whiten.T @ self._moments
        usable = np.flatnonzero(usable_by(whole.rows.has, parameters.kernels))
        drawn = usable[draw_groups(whole.groups[usable], LINK_ROWS, rng)]
        sample = whole.take(drawn)
        phi = kernel_matrix(sample.rows.compared(), landmarks, parameters).double() @ whiten
        encoded, blocks = sample.encoded(), blocks_of(sample.groups)
        best: tuple[float, Link, torch.Tensor, torch.Tensor] | None = None
        for multiple in RIDGE_MULTIPLES:
            root = torch.linalg.cholesky(gram + ridge * multiple * torch.eye(len(gram), dtype=torch.float64))
            weights = torch.cholesky_solve(moments, root)
            leverage = torch.linalg.solve_triangular(root, phi.T, upper=False).T
            scores = scores_of_regression(phi @ weights, leverage, encoded, blocks)
            link, loss = learn_link(scores, sample.targets, whole.log_prior)
            if best is None or loss < best[0]:
                best = loss, link, weights, scores
        assert best is not None  # noqa: S101 - there are multiples
        alpha = torch.zeros(len(supported), len(whole.log_prior), dtype=torch.float64)
        alpha[torch.from_numpy(self._landmarks)] = whiten @ best[2]
        return Raw(parameters, alpha, best[1], drawn, best[3])


def kernel_matrix(rows: Compared, support: Compared, parameters: KernelParameters) -> torch.Tensor:
    """The kernel matrix, float32 (n, m), made in parts."""
    found = torch.empty(len(rows), len(support))
    for start, part in kernel_parts(rows, support, parameters):
        found[start : start + len(part)] = part
    return found


def draw_groups(groups: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of rows, ascending: whole groups until there are `most` rows; the first of them, whatever its size."""
    if len(groups) <= most:
        return np.arange(len(groups))
    names, numbers = np.unique(groups, return_inverse=True)
    order = rng.permutation(len(names))
    sizes = np.bincount(numbers)[order]
    taken = order[: max(1, int(np.searchsorted(np.cumsum(sizes), most, side="right")))]
    found = np.flatnonzero(np.isin(numbers, taken))
    return found[:most] if len(found) > most else found
