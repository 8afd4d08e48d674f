"""Which labels are likely wrong, by the evidence of models that weren't trained on these rows.

Known under the names of self-confidence and confident learning (Northcutt, Jiang and Chuang, Confident Learning:
Estimating Uncertainty in Dataset Labels, 2021). Which ranking finds planted errors best was measured:
benchmarks/label_errors.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .probabilities import ProbabilityTable

# below it a probability says no more of how unlikely a class is
LEAST = 1e-12
# how much the surest class speaks for a row whose given class is improbable
OF_BEST = 0.25


@dataclass(frozen=True)
class LabelIssue:
    """A row whose label is doubted.

    Attributes:
        row: its position in the table.
        suggested: position of the likeliest class.
        given_probability, suggested_probability: by the table and the labels of its group, in [0, 1].
        doubt: the larger, the likelier is an error; for the order alone.
    """

    row: int
    suggested: int
    given_probability: float
    suggested_probability: float
    doubt: float


def label_issues(table: ProbabilityTable, groups: Sequence[str] | None = None) -> list[LabelIssue]:
    """The rows for which another class is likelier than the given one, the most doubtful first.

    Args:
        table: out of fold, with labels.
        groups: of the rows: those of one group are expected to share a label as often as they do; None for none.
    """
    targets = table.targets()
    beliefs = with_groups(table.probabilities, targets, groups)
    doubts = doubt(beliefs, targets)
    suggested = beliefs.argmax(axis=1)
    order = np.argsort(-doubts, kind="stable")
    return [
        LabelIssue(
            int(row),
            int(suggested[row]),
            float(beliefs[row, targets[row]]),
            float(beliefs[row, suggested[row]]),
            float(doubts[row]),
        )
        for row in order
        if suggested[row] != targets[row]
    ]


def count_errors(beliefs: np.ndarray, targets: np.ndarray) -> int:
    """About how many labels are wrong: the off-diagonal of confident learning's joint.

    A row counts where a class other than the given one is as probable as it is on average for rows that are labelled
    so. It tends to count too many where classes are hard to tell apart.

    Args:
        beliefs: float (rows, classes), probabilities.
        targets: int (rows,), the given classes.
    """
    own = beliefs[np.arange(len(targets)), targets].astype(np.float64)
    sizes = np.bincount(targets, minlength=beliefs.shape[1])
    usual = np.bincount(targets, own, minlength=beliefs.shape[1]) / np.maximum(sizes, 1)
    usual[sizes == 0] = np.inf
    reached = np.where(beliefs >= usual, beliefs, -1.0)
    return int(((reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != targets)).sum())


def doubt(beliefs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 (rows,), the larger the likelier is a wrong label.

    -log p(given) + 1/4 log p(likeliest): self-confidence, and of two rows whose given class is as improbable, that
    one first whose likeliest class is the surer.

    Args:
        beliefs: float (rows, classes), probabilities.
        targets: int (rows,), the given classes.
    """
    logs = np.log(np.maximum(beliefs.astype(np.float64), LEAST))
    found: np.ndarray = OF_BEST * logs.max(axis=1) - logs[np.arange(len(targets)), targets]
    return found


def with_groups(probabilities: np.ndarray, targets: np.ndarray, groups: Sequence[str] | None) -> np.ndarray:
    """float64 (rows, classes), what a row is by its probabilities and by the labels of the others of its group.

    The others' labels count as independent witnesses that agree with the row's class as often as labels agree within
    groups, so groups of mixed labels say nothing.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,), the given classes.
        groups: of the rows; None for none.
    """
    if groups is None:
        return probabilities.astype(np.float64)
    classes = probabilities.shape[1]
    numbers = np.unique(groups, return_inverse=True)[1]
    given = np.zeros((len(targets), classes))
    given[np.arange(len(targets)), targets] = 1
    votes = np.zeros((int(numbers.max()) + 1, classes))
    np.add.at(votes, numbers, given)
    others = votes[numbers] - given
    witnesses = others.sum(axis=1, keepdims=True)
    # one more of either kind, so that no share is 0 or 1
    agreeing = ((others * given).sum() + 1) / (witnesses.sum() + 2)
    other = (1 - agreeing) / max(classes - 1, 1)
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST))
    if agreeing > other:
        logs = logs + others * np.log(agreeing) + (witnesses - others) * np.log(other)
    logs -= logs.max(axis=1, keepdims=True)
    likelihoods = np.exp(logs)
    found: np.ndarray = likelihoods / likelihoods.sum(axis=1, keepdims=True)
    return found
