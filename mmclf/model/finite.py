"""Whether weights are numbers."""

import math

import torch


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no number in it is nan or infinite."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor)  # nan if one is; no mask as large as the tensor
    return math.isfinite(low) and math.isfinite(high)
