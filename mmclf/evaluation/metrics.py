"""Figures of merit, all from a matrix of probabilities and the true classes."""

import numpy as np

BINS = 15


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
    return float(is_in_top_k(probabilities, targets, k).mean())


def is_in_top_k(probabilities: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Bool (rows,): whether each row counts for `top_k`."""
    named = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    found: np.ndarray = (named == targets[:, None]).any(axis=1)
    return found


def per_class(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Rows, precision, recall and F1 of each class, taking the most probable class of each row.

    Precision is 0 for a class that is never predicted, recall is 0 for one without rows.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,).

    Returns:
        Arrays (classes,): `rows` int64; `precision`, `recall`, `f1` float64 in [0, 1].
    """
    from sklearn.metrics import precision_recall_fscore_support  # here, since it takes a second

    labels = range(probabilities.shape[1])
    if len(targets) == 0:  # which scikit-learn refuses
        figures = {name: np.zeros(len(labels)) for name in ("precision", "recall", "f1")}
        return {"rows": np.zeros(len(labels), np.int64), **figures}
    precision, recall, f1, rows = precision_recall_fscore_support(
        targets, probabilities.argmax(axis=1), labels=labels, zero_division=0
    )
    return {"rows": rows, "precision": precision, "recall": recall, "f1": f1}


def macro_f1(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of the classes' F1 over the classes that occur, as rows or as predictions; nan for no rows."""
    from sklearn.metrics import f1_score

    if len(targets) == 0:
        return float("nan")
    return float(f1_score(targets, probabilities.argmax(axis=1), average="macro", zero_division=0))


def log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log p(true class), in nats; nan for no rows.

    Probabilities are kept from zero by float32's smallest number.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,).
    """
    if len(targets) == 0:
        return float("nan")
    found = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(found, np.finfo(np.float32).tiny)).mean())


def calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, over 15 bins with as many rows each.

    The mean over the bins, weighted by their rows, of the difference between the mean confidence and the share of right
    answers (Guo et al., On Calibration of Modern Neural Networks, 2017). Bins of equal width hold nearly all rows in
    the last one where a model is mostly sure; those of equal mass see each part of the rows alike (Nixon et al.,
    Measuring Calibration in Deep Learning, 2019). Rows of the same confidence are taken in their order.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,).

    Returns:
        In [0, 1], 0 is best; nan for no rows.
    """
    if len(targets) == 0:
        return float("nan")
    confidence = probabilities.max(axis=1).astype(np.float64)
    hit = probabilities.argmax(axis=1) == targets
    gaps = (confidence - hit)[np.argsort(confidence, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, BINS)) / len(targets))
