"""Several models' probabilities as one: the logarithmic opinion pool.

p is proportional to exp(sum of w log p_member): a weight for each member, which also sharpens or flattens the whole, so
that one member alone is scaled by its temperature (Genest and Zidek, Combining Probability Distributions, 1986; Guo et
al., On Calibration of Modern Neural Networks, 2017).

A class that not every member knows (its probability is nan there) keeps the probability that those give it who do, and
the pool shares out the rest: the others say nothing of it, not that it is improbable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# below it a probability tells nothing more of how improbable a class is
LEAST = 1e-6
# of a member: with less it is left out
LEAST_WEIGHT = 0.03
# how strongly weights are drawn to equal ones, in rows
PRIOR_ROWS = 1.0


@dataclass(frozen=True)
class Pool:
    """How members count.

    Attributes:
        weights: one a member, not negative.
    """

    weights: tuple[float, ...]

    def combine(self, members: Sequence[np.ndarray]) -> np.ndarray:
        """float64 (n, classes), each row's sum 1.

        Args:
            members: probabilities (n, classes) of each member.
        """
        stacked = np.stack(members)
        shared = _shared(stacked)
        found = np.empty(stacked.shape[1:])
        found[:, ~shared] = np.nanmean(stacked[:, :, ~shared], axis=0)
        rest = 1 - found[:, ~shared].sum(axis=1, keepdims=True)
        found[:, shared] = rest * np.exp(_log_pool(np.asarray(self.weights), _logs(stacked[:, :, shared])))
        return found


def fit_pool(members: Sequence[np.ndarray], targets: np.ndarray) -> Pool:
    """The weights under which the true classes are likeliest; a member that hardly counts gets 0.

    Args:
        members: out-of-fold probabilities (n, classes) of each member.
        targets: int (n,), of classes that every member knows.
    """
    stacked = np.stack(members)
    shared = _shared(stacked)
    logs, targets = _logs(stacked[:, :, shared]), (np.cumsum(shared) - 1)[targets]
    kept = np.arange(len(members))
    while True:
        weights = _fit(logs[kept], targets)
        if len(kept) == 1 or weights.min() >= LEAST_WEIGHT:
            break
        kept = np.delete(kept, weights.argmin())
    found = np.zeros(len(members))
    found[kept] = weights
    return Pool(tuple(float(weight) for weight in found))


def pool_out_of_fold(members: Sequence[np.ndarray], targets: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """float64 (n, classes): each fold's rows pooled by weights that were fitted on the other folds' rows."""
    found = np.empty(members[0].shape)
    for fold in np.unique(folds):
        here = folds == fold
        pool = fit_pool([each[~here] for each in members], targets[~here])
        found[here] = pool.combine([each[here] for each in members])
    return found


def _fit(logs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize  # here, since scoring doesn't need it

    count, rows, _ = logs.shape
    equal = np.full(count, 1 / count)
    of_truth = logs[:, np.arange(rows), targets]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        pooled = _log_pool(weights, logs)
        expected = np.einsum("nc,knc->kn", np.exp(pooled), logs)
        moved = weights - equal
        value = -pooled[np.arange(rows), targets].mean() + PRIOR_ROWS / rows * (moved**2).sum()
        return float(value), (expected - of_truth).mean(axis=1) + 2 * PRIOR_ROWS / rows * moved

    found: np.ndarray = minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=[(0, None)] * count).x
    return found


def _shared(members: np.ndarray) -> np.ndarray:
    """Bool (classes,): which every member knows; of probabilities (members, n, classes)."""
    found: np.ndarray = ~np.isnan(members).any(axis=(0, 1))
    return found


def _logs(members: np.ndarray) -> np.ndarray:
    """float64 (members, n, classes)."""
    found: np.ndarray = np.log(np.maximum(members.astype(np.float64), LEAST))
    return found


def _log_pool(weights: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """float64 (n, classes), log of the pooled probabilities."""
    total = np.tensordot(weights, logs, 1)
    total = total - total.max(axis=1, keepdims=True)
    found: np.ndarray = total - np.log(np.exp(total).sum(axis=1, keepdims=True))
    return found
