"""Several models' probabilities as one: the logarithmic opinion pool.

p is proportional to exp(sum of w log p_member): a weight for each member, which also sharpens or flattens the whole, so
that one member alone is scaled by its temperature (Genest and Zidek, Combining Probability Distributions, 1986; Guo et
al., On Calibration of Modern Neural Networks, 2017).

Members err in classes of their own: one tells flags apart and another one smileys. So a member's weight is a little
another one for each class, as far as held-out rows show it (docs/adr/0036).

What comes out says a little too little where it is unsure and too much where it is rather sure. So the probability of
a row's first class is moved along a curve that was fitted to how often such rows are right (docs/adr/0035), and its
other classes share the rest as they did.

A class that not every member knows (its probability is nan there) keeps the probability that those give it who do, and
the pool shares out the rest: the others say nothing of it, not that it is improbable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Annotated

import numpy as np
from pydantic import Field

# below it a probability tells nothing more of how improbable a class is
LEAST = 1e-6
# of a member: with less it is left out
LEAST_WEIGHT = 0.03
# how strongly weights are drawn to equal ones, in rows
PRIOR_ROWS = 1.0
# how strongly a class's weights are drawn to the members' own, in rows
CLASS_ROWS = 300.0
# log-odds at which the curve is fitted; between them it is straight, beyond them it is as at the last
KNOTS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0)
# how strongly it is drawn to no change, in rows, and to change alike at neighbouring knots
CURVE_ROWS, CURVE_EVENNESS = 3.0, 4.0
# log-odds are those of probabilities at least so far from 0 and 1
LEAST_ODDS = 1e-9
# none, or a number for each of KNOTS
Curve = tuple[()] | Annotated[tuple[float, ...], Field(min_length=len(KNOTS), max_length=len(KNOTS))]
# how much likelier than the second class the first one stays at least
FIRST_BY = 1e-4


@dataclass(frozen=True)
class Pool:
    """How members count.

    Attributes:
        weights: one a member, not negative.
        by_class: what is added to a member's weight for each class; () for nothing.
        curve: what is added to the log-odds of a row's first class, at KNOTS; () for nothing.
    """

    weights: tuple[float, ...]
    by_class: tuple[tuple[float, ...], ...] = ()
    curve: Curve = ()

    def only(self, counts: Sequence[bool]) -> "Pool":
        """The same of some members, which are at least those with a weight."""
        return replace(
            self, weights=tuple(compress(self.weights, counts)), by_class=tuple(compress(self.by_class, counts))
        )

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
        weights = np.asarray(self.weights)[:, None]
        if self.by_class:
            weights = weights + np.asarray(self.by_class)[:, shared]
        pooled = np.exp(_log_pool(weights, _logs(stacked, shared)))
        found[:, shared] = rest * (_moved(pooled, np.asarray(self.curve)) if self.curve else pooled)
        return found


def fit_pool(members: Sequence[np.ndarray], targets: np.ndarray) -> Pool:
    """The weights under which the true classes are likeliest, those by class, and the curve, one after the other.

    A member that hardly counts gets 0. One that counts alone is scaled, so that its first classes stay the first.

    Args:
        members: out-of-fold probabilities (n, classes) of each member.
        targets: int (n,), of classes that every member knows.
    """
    stacked = np.stack(members)
    shared = _shared(stacked)
    logs, targets = _logs(stacked, shared), (np.cumsum(shared) - 1)[targets]
    kept = np.arange(len(members))
    while True:
        weights = _fit(logs[kept], targets)
        if len(kept) == 1 or weights.min() >= LEAST_WEIGHT:
            break
        kept = np.delete(kept, weights.argmin())
    found = np.zeros(len(members))
    found[kept] = weights
    by_class: tuple[tuple[float, ...], ...] = ()
    each = weights[:, None]
    if len(kept) > 1:
        added = np.zeros((len(members), len(shared)))
        added[np.ix_(kept, shared)] = of_kept = _fit_by_class(weights, logs[kept], targets)
        by_class, each = tuple(tuple(row) for row in added.tolist()), each + of_kept
    curve = _fit_curve(np.exp(_log_pool(each, logs[kept])), targets)
    return Pool(tuple(found.tolist()), by_class, tuple(curve.tolist()))


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
        pooled = _log_pool(weights[:, None], logs)
        expected = np.einsum("nc,knc->kn", np.exp(pooled), logs)
        moved = weights - equal
        value = -pooled[np.arange(rows), targets].mean() + PRIOR_ROWS / rows * (moved**2).sum()
        return float(value), (expected - of_truth).mean(axis=1) + 2 * PRIOR_ROWS / rows * moved

    found: np.ndarray = minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=[(0, None)] * count).x
    return found


def _fit_by_class(weights: np.ndarray, logs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 (members, classes): what is added to their weights, none of which falls below nothing."""
    from scipy.optimize import minimize

    count, rows, classes = logs.shape
    truth = np.arange(rows), targets

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        added = flat.reshape(count, classes)
        pooled = _log_pool(weights[:, None] + added, logs)
        value = -pooled[truth].mean() + CLASS_ROWS / rows * (added**2).sum()
        wrong = np.exp(pooled)
        wrong[truth] -= 1
        slope = np.einsum("nc,knc->kc", wrong, logs) / rows + 2 * CLASS_ROWS / rows * added
        return float(value), slope.ravel()

    bounds = [(-weight, None) for weight in np.repeat(weights, classes)]
    found: np.ndarray = minimize(loss, np.zeros(count * classes), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found.reshape(count, classes)


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


def _logs(members: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """float64 (members, n, shared), log of what each member says of a class, were it one that all know."""
    known = members[:, :, shared].astype(np.float64)
    known /= np.maximum(known.sum(axis=2, keepdims=True), LEAST)
    found: np.ndarray = np.log(np.maximum(known, LEAST))
    return found


def _log_pool(weights: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """float64 (n, classes), log of the pooled probabilities, by weights (members, classes) or (members, 1)."""
    total = np.einsum("kc,knc->nc", np.broadcast_to(weights, (len(logs), logs.shape[2])), logs)
    total = total - total.max(axis=1, keepdims=True)
    found: np.ndarray = total - np.log(np.exp(total).sum(axis=1, keepdims=True))
    return found
