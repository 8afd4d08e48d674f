"""Scores of rows by models without them, in closed form.

For a ridge regression nothing has to be solved again: with B the inverse of K + λI and a = BY, a row's score by a model
without it is y - a / B_ii (Rasmussen and Williams, Gaussian Processes for Machine Learning, 5.4.2), and the same with
blocks of B where a whole group is left out.
"""

from collections.abc import Sequence

import numpy as np
import torch


class LeftOut(torch.autograd.Function):
    """Scores (n, classes) of rows without their group, from A = K + λI and the encoded targets.

    The gradient in closed form costs one product of matrices; through torch's own inverse it would cost five.
    """

    @staticmethod
    def forward(ctx, regularised, encoded, blocks):  # type: ignore[no-untyped-def]
        """Scores float64 (n, classes)."""
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(regularised))
        alpha = inverse @ encoded
        ctx.save_for_backward(inverse, alpha)
        ctx.blocks = blocks
        return scores_without(inverse, alpha, encoded, blocks)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        """The gradient of `regularised`; the others have none."""
        inverse, alpha = ctx.saved_tensors
        # score = y - C⁻¹ a in each block, with C the block of B: d score = -C⁻¹ (da - dC C⁻¹ a)
        of_alpha = torch.zeros_like(alpha)
        of_inverse = torch.zeros_like(inverse)
        for members in ctx.blocks:
            block = inverse[members[:, :, None], members[:, None, :]]
            back = torch.linalg.solve(block, gradient[members])
            of_alpha[members] = -back
            residual = torch.linalg.solve(block, alpha[members])
            of_inverse[members[:, :, None], members[:, None, :]] = back @ residual.transpose(1, 2)
        # B changes by -B dA B, and a by -B dA a
        if all(members.shape[1] == 1 for members in ctx.blocks):
            through = inverse * of_inverse.diagonal()[None, :] @ inverse
        else:
            through = inverse @ of_inverse @ inverse
        return -(through + (inverse @ of_alpha) @ alpha.T), None, None


def scores_without(
    inverse: torch.Tensor, alpha: torch.Tensor, encoded: torch.Tensor, blocks: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Scores of rows without their group, (n, classes)."""
    scores = torch.empty_like(encoded)
    for members in blocks:
        block = inverse[members[:, :, None], members[:, None, :]]
        scores[members] = encoded[members] - torch.linalg.solve(block, alpha[members])
    return scores


def scores_without_these(
    inverse: torch.Tensor, alpha: torch.Tensor, encoded: torch.Tensor, groups: np.ndarray, these: np.ndarray
) -> torch.Tensor:
    """Scores of rows without their group and without some rows besides, (n, classes).

    Args:
        inverse: (n, n).
        alpha: (n, classes).
        encoded: (n, classes).
        groups: int64 (n,), of each row.
        these: int64 (d,), positions of the rows that are left out of every model: whole groups, and not all of them.
    """
    out, n = torch.from_numpy(these), len(inverse)
    rest = np.setdiff1d(np.arange(n), these)
    crossing = inverse[out]
    solved = torch.linalg.solve(crossing[:, out], torch.cat([crossing, alpha[out]], dim=1))
    scores = torch.empty_like(encoded)
    scores[out] = encoded[out] - solved[:, n:]
    # what is left of B without these rows, by its Schur complement; and a follows
    weights = alpha - crossing.T @ solved[:, n:]
    for members in blocks_of(groups[rest]):
        rows = torch.from_numpy(rest)[members]
        block = inverse[rows[:, :, None], rows[:, None, :]]
        block = block - torch.einsum("dgi,dgj->gij", crossing[:, rows], solved[:, rows])
        scores[rows] = encoded[rows] - torch.linalg.solve(block, weights[rows])
    return scores


def blocks_of(groups: np.ndarray) -> list[torch.Tensor]:
    """Positions of the rows of each group, int64 (groups, size), those of one size together."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0])
    by_size: dict[int, list[np.ndarray]] = {}
    for members in np.split(order, starts[1:]):
        by_size.setdefault(len(members), []).append(members)
    return [torch.from_numpy(np.stack(members)) for members in by_size.values()]


def scores_of_regression(
    predicted: torch.Tensor, leverage: torch.Tensor, encoded: torch.Tensor, blocks: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The same for a ridge regression on features.

    Args:
        predicted: (n, classes), scores with the rows.
        leverage: (n, size), so that its product with itself is the hat matrix.
        encoded: (n, classes).
        blocks: see `blocks_of`.
    """
    scores = torch.empty_like(encoded)
    for members in blocks:
        # without its group a row's residual is (I - H)⁻¹ (y - f), with H the group's block of the hat matrix
        hat = leverage[members] @ leverage[members].transpose(1, 2)
        rest = torch.eye(members.shape[1], dtype=hat.dtype) - hat
        scores[members] = encoded[members] - torch.linalg.solve(rest, encoded[members] - predicted[members])
    return scores
