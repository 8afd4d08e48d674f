"""Out-of-fold matrices that are drawn."""

import numpy as np

from mmclf.evaluation.probabilities import ProbabilityTable

CLASSES = ("a", "b", "c", "d")


def draw(rows=200, seed=0, skill=2.0):
    """A matrix that is right more often the more skill it has; the rows and their labels are always the same."""
    rng = np.random.default_rng(seed)
    targets = np.random.default_rng(99).integers(0, 4, rows)
    scores = rng.normal(size=(rows, 4)) + skill * np.eye(4)[targets]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return ProbabilityTable(
        ids=[f"p{row}" for row in range(rows)],
        classes=CLASSES,
        probabilities=probabilities.astype(np.float32),
        folds=np.arange(rows) % 5,
        labels=[CLASSES[target] for target in targets],
    )
