"""Several models' probabilities as one: the logarithmic opinion pool.

p is proportional to exp(sum of w log p_member): a weight for each member, which also sharpens or flattens the whole, so
that one member alone is scaled by its temperature (Genest and Zidek, Combining Probability Distributions, 1986; Guo et
al., On Calibration of Modern Neural Networks, 2017).

What comes out says a little too little where it is unsure and too much where it is rather sure. So the probability of
a row's first class is moved along a curve that was fitted to how often such rows are right (docs/adr/0035), and its
other classes share the rest as they did.

A class that not every member knows (its probability is nan there) keeps the probability that those give it who do, and
the pool shares out the rest: the others say nothing of it, not that it is improbable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

# below it a probability tells nothing more of how improbable a class is
LEAST = 1e-6
# of a member: with less it is left out
LEAST_WEIGHT = 0.03
# how strongly weights are drawn to equal ones, in rows
PRIOR_ROWS = 1.0
# log-odds at which the curve is fitted; between them it is straight, beyond them it is as at the last
KNOTS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0)
# how strongly it is drawn to no change, in rows, and to change alike at neighbouring knots
CURVE_ROWS, CURVE_EVENNESS = 3.0, 4.0
# log-odds are those of probabilities at least so far from 0 and 1
LEAST_ODDS = 1e-9
# as it is written down: none, or a number for each of KNOTS
Curve = tuple[()] | Annotated[tuple[float, ...], Field(min_length=len(KNOTS), max_length=len(KNOTS))]
# how much likelier than the second class the first one stays at least
FIRST_BY = 1e-4


@dataclass(frozen=True)
class Pool:
    """How members count.

    Attributes:
        weights: one a member, not negative.
        curve: what is added to the log-odds of a row's first class, at KNOTS; () for nothing.
    """

    weights: tuple[float, ...]
    curve: tuple[float, ...] = ()

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
        pooled = np.exp(_log_pool(np.asarray(self.weights), _logs(stacked[:, :, shared])))
        found[:, shared] = rest * (_moved(pooled, np.asarray(self.curve)) if self.curve else pooled)
        return found


def fit_pool(members: Sequence[np.ndarray], targets: np.ndarray) -> Pool:
    """The weights under which the true classes are likeliest, and then the curve; a member that hardly counts gets 0.

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
    pooled = np.exp(_log_pool(weights, logs[kept]))
    return Pool(tuple(found.tolist()), tuple(_fit_curve(pooled, targets).tolist()))


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


def _fit_curve(pooled: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 (KNOTS,): under it the first classes are right as often as they say."""
    from scipy.optimize import minimize

    rows = len(targets)
    is_right = pooled.argmax(axis=1) == targets
    odds, basis = _odds_of(pooled.max(axis=1))

    def loss(curve: np.ndarray) -> tuple[float, np.ndarray]:
        moved = odds + basis @ curve
        steps = np.diff(curve)
        drawn = (curve**2).sum() + CURVE_EVENNESS * (steps**2).sum()
        back = curve + CURVE_EVENNESS * (np.append(0, steps) - np.append(steps, 0))
        value = np.logaddexp(0, np.where(is_right, -moved, moved)).mean() + CURVE_ROWS / rows * drawn
        return float(value), basis.T @ (_sigmoid(moved) - is_right) / rows + 2 * CURVE_ROWS / rows * back

    found: np.ndarray = minimize(loss, np.zeros(len(KNOTS)), jac=True, method="L-BFGS-B").x
    return found


def _moved(pooled: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) along a curve; the first class of each row stays the first."""
    rows, first = np.arange(len(pooled)), pooled.argmax(axis=1)
    sure = pooled[rows, first]
    others = pooled.copy()
    others[rows, first] = 0
    second, rest = others.max(axis=1), 1 - sure
    odds, basis = _odds_of(sure)
    # where both are alike, the second would be as likely at this probability of the first
    least = second / np.maximum(rest + second, LEAST) * (1 + FIRST_BY)
    told = np.where(rest > 0, np.clip(_sigmoid(odds + basis @ curve), least, 1), 1)
    found = others * ((1 - told) / np.where(rest > 0, rest, 1))[:, None]
    found[rows, first] = told
    return found


def _odds_of(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds (n,), and how much each of KNOTS counts there, (n, KNOTS)."""
    clipped = np.clip(probabilities, LEAST_ODDS, 1 - LEAST_ODDS)
    odds = np.log(clipped / (1 - clipped))
    knots = np.asarray(KNOTS)
    within = np.clip(odds, knots[0], knots[-1])
    basis = np.stack([np.interp(within, knots, row) for row in np.eye(len(knots))], axis=1)
    return odds, basis


def _sigmoid(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / (1 + np.exp(-values))
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
