"""The figures of a cross-validation, all from its out-of-fold matrix."""

from dataclasses import dataclass

import numpy as np

from .metrics import calibration_error, log_loss, macro_f1, top_k
from .probabilities import ProbabilityTable


@dataclass(frozen=True)
class FoldFigures:
    """What a fold reached on the rows that it held out; shares in [0, 1]."""

    fold: int
    top1: float
    top3: float


@dataclass(frozen=True)
class Figures:
    """Of an out-of-fold matrix.

    Attributes:
        folds: what each fold reached, in the order of their numbers.
        top1_mean, top1_std, top3_mean: over the folds, each counting the same.
        oof_top1, oof_top3, macro_f1, calibration_error: of all rows together.
        loss: mean of -log p(true class), of all rows together.
    """

    folds: tuple[FoldFigures, ...]
    top1_mean: float
    top1_std: float
    top3_mean: float
    oof_top1: float
    oof_top3: float
    macro_f1: float
    calibration_error: float
    loss: float

    @property
    def is_single(self) -> bool:
        """Whether there is only one fold, so that nothing is known of the spread."""
        return len(self.folds) == 1

    @property
    def top1(self) -> str:
        """Mean and standard deviation for people, `0.8450 ± 0.0120`; of a single fold its figure alone."""
        return f"{self.top1_mean:.4f}" if self.is_single else f"{self.top1_mean:.4f} ± {self.top1_std:.4f}"


def figures_of(table: ProbabilityTable) -> Figures:
    """The figures of a matrix that has labels and folds."""
    probabilities, targets = table.probabilities, table.targets()
    numbers = table.folds if table.folds is not None else np.zeros(len(table), dtype=np.int64)
    folds = []
    for number in np.unique(numbers):
        rows = numbers == number
        top1, top3 = (top_k(probabilities[rows], targets[rows], k) for k in (1, 3))
        folds.append(FoldFigures(int(number), top1, top3))
    return Figures(
        folds=tuple(folds),
        top1_mean=float(np.mean([fold.top1 for fold in folds])),
        top1_std=float(np.std([fold.top1 for fold in folds])),
        top3_mean=float(np.mean([fold.top3 for fold in folds])),
        oof_top1=top_k(probabilities, targets, 1),
        oof_top3=top_k(probabilities, targets, 3),
        macro_f1=macro_f1(probabilities, targets),
        calibration_error=calibration_error(probabilities, targets),
        loss=log_loss(probabilities, targets),
    )
