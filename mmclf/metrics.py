"""Figures of merit, all from a matrix of probabilities and the true classes."""

import numpy as np


def top_k(probabilities: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Share of rows whose true class is among the k most probable ones.

    Ties are broken in favour of the lower class index, so a constant row counts only for the first k classes.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,).
        k: how many classes may be named; with fewer classes every row counts.

    Returns:
        A share in [0, 1]; nan for no rows.
    """
    if len(targets) == 0:
        return float("nan")
    named = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((named == targets[:, None]).any(axis=1).mean())
