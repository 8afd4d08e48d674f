"""What one epoch of a fold reached."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EpochResult:
    """What one epoch reached.

    Attributes:
        epoch: 1 for the first.
        train_loss: mean cross-entropy over the training rows, with label smoothing.
        val_loss: mean cross-entropy over the validation rows, without.
        val_top1, val_top3: shares in [0, 1].
        learning_rates: of the epoch's last optimiser step, by module.
        seconds: wall time of training and validation.
        rows_per_second: training rows by training time.
        data_wait: share of the training time that was spent waiting for data, in [0, 1].
        peak_memory: MiB at most so far; see `peak_memory`.
        is_best: val_top1 is better than in every epoch before.
        probabilities: float32 (validation rows, classes), in the order of the validation loader's rows.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_top1: float
    val_top3: float
    learning_rates: dict[str, float]
    seconds: float
    rows_per_second: float
    data_wait: float
    peak_memory: float
    is_best: bool
    probabilities: np.ndarray
