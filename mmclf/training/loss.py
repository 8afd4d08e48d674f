"""The loss of the batches that are trained on; that of held-out rows is evaluation/metrics.py's `log_loss`."""

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
