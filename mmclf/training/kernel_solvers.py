"""A kernel regression solved: exactly, or on landmarks, and scored on rows that are left out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..model.kernel_head import Link
from ..model.kernels import BLOCK, Compared, KernelParameters, kernel_parts
from .left_out import blocks_of, scores_of_regression, scores_without

# rows whose scores set the link, where there are landmarks
LINK_ROWS = 4096
# of the ridge, that are tried with landmarks
RIDGE_MULTIPLES = (1.0, 4.0, 16.0, 64.0, 256.0)
# how strongly what is learned is drawn to where it starts, in rows
PRIOR_ROWS = 1.0
# sharpness (its logarithm), power, power of the prior
START_LINK = (3.0, 1.0, 0.0)
# of a direction among the landmarks, as a share of a landmark's likeness to itself
LEAST_STRENGTH = 1e-4


@dataclass(frozen=True)
class Problem:
    """Training rows and what they should be.

    Attributes:
        rows: as kernels compare them.
        targets: int64 (n,).
        groups: int64 (n,), rows that are left out together.
        log_prior: float64 (classes,).
    """

    rows: Compared
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
    whole: Problem, usable: np.ndarray, parameters: KernelParameters, ridge: float
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """All usable rows are support: their positions, alpha (all rows, classes), and their scores without them."""
    problem = whole.take(usable)
    matrix = kernel_matrix(problem.rows, problem.rows, parameters).double()
    matrix.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(matrix)
    inverse = torch.cholesky_inverse(factor, out=matrix)  # its memory isn't needed any more
    encoded = problem.encoded()
    alpha = inverse @ encoded
    everywhere = torch.zeros(len(whole.targets), alpha.shape[1], dtype=torch.float64)
    everywhere[torch.from_numpy(usable)] = alpha
    return usable, everywhere, scores_without(inverse, alpha, encoded, blocks_of(problem.groups))


def solve_on_landmarks(
    whole: Problem,
    usable: np.ndarray,
    support: np.ndarray,
    parameters: KernelParameters,
    ridge: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Landmarks are support (Nyström): drawn rows, alpha (landmarks, classes), and the rows' scores without them.

    With K_mm = USUᵀ, a row's features are φ = S^-½ Uᵀ k_m, without the directions that single precision can't tell from
    nothing, and what is solved is a ridge regression on them. Its ridge is chosen anew, since landmarks tell less of a
    row than the row itself: the multiple of `ridge` under which rows that are left out are likeliest.
    """
    is_usable = np.isin(support, usable)
    landmarks = whole.rows.take(support[is_usable])
    among = kernel_matrix(landmarks, landmarks, parameters).double()
    strengths, directions = torch.linalg.eigh(among)
    kept = strengths > LEAST_STRENGTH * among.diagonal().mean()
    whiten = directions[:, kept] / strengths[kept].sqrt()
    narrow = whiten.float()
    size, classes = whiten.shape[1], len(whole.log_prior)
    gram = torch.zeros(size, size, dtype=torch.float64)
    moments = torch.zeros(size, classes, dtype=torch.float64)

    def features(rows: np.ndarray) -> torch.Tensor:
        found: torch.Tensor = kernel_matrix(whole.rows.take(rows), landmarks, parameters) @ narrow
        return found

    step = max(1, BLOCK // len(landmarks))
    for start in range(0, len(usable), step):
        part = usable[start : start + step]
        phi = features(part)
        gram += (phi.T @ phi).double()
        moments += phi.double().T @ whole.take(part).encoded()
    drawn = usable[draw_groups(whole.groups[usable], LINK_ROWS, rng)]
    sample, phi = whole.take(drawn), features(drawn).double()
    blocks = blocks_of(sample.groups)
    best: tuple[float, torch.Tensor, torch.Tensor] | None = None
    for multiple in RIDGE_MULTIPLES:
        root = torch.linalg.cholesky(gram + ridge * multiple * torch.eye(size, dtype=torch.float64))
        weights = torch.cholesky_solve(moments, root)
        leverage = torch.linalg.solve_triangular(root, phi.T, upper=False).T
        scores = scores_of_regression(phi @ weights, leverage, sample.encoded(), blocks)
        loss = learn_link(scores, sample.targets, whole.log_prior)[1]
        if best is None or loss < best[0]:
            best = loss, weights, scores
    assert best is not None  # noqa: S101 - there are multiples
    alpha = torch.zeros(len(support), classes, dtype=torch.float64)
    alpha[torch.from_numpy(is_usable)] = whiten @ best[1]
    return drawn, alpha, best[2]


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
