"""The losses: of the batches that are trained on, and of the rows that are held out."""

import numpy as np
import torch
from torch.nn import functional as F

from ..data.row_batches import NO_TARGET


def training_loss(logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Cross-entropy, summed over the rows of a batch that count.

    Args:
        logits: float32 (B, classes).
        targets: int64 (B,), NO_TARGET on a row that doesn't count.
        label_smoothing: in [0, 1).

    Returns:
        A scalar.
    """
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="sum", ignore_index=NO_TARGET)


def held_out_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log p(true class); probabilities are kept from zero by float32's smallest number.

    Args:
        probabilities: float (rows, classes).
        targets: int (rows,).
    """
    picked = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).mean())
