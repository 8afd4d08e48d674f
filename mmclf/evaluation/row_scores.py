"""What the figures of rows are computed from: five values a row, whatever the number of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import is_in_top_k


@dataclass(frozen=True)
class RowScores:
    """Of n rows with labels.

    Attributes:
        classes: how many there are.
        targets: int64 (n,), the given classes.
        predictions: int64 (n,), the most probable ones.
        confidence: float32 (n,), probabilities of these.
        truth: float32 (n,), probabilities of the given classes.
        in_top3: bool (n,), whether the given class is among the three most probable ones.
    """

    classes: int
    targets: np.ndarray
    predictions: np.ndarray
    confidence: np.ndarray
    truth: np.ndarray
    in_top3: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def of(cls, probabilities: np.ndarray, targets: np.ndarray) -> "RowScores":
        """From probabilities (n, classes) and the given classes, int (n,)."""
        return cls(
            probabilities.shape[1],
            targets,
            probabilities.argmax(axis=1),
            probabilities.max(axis=1),
            probabilities[np.arange(len(targets)), targets],
            is_in_top_k(probabilities, targets, 3),
        )

    @classmethod
    def join(cls, parts: Sequence["RowScores"]) -> "RowScores":
        """The rows of several, at least one."""
        names = ("targets", "predictions", "confidence", "truth", "in_top3")
        return cls(parts[0].classes, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def hits(self) -> np.ndarray:
        """Bool (n,), whether the most probable class is the given one."""
        found: np.ndarray = self.predictions == self.targets
        return found
