"""Low-rank adapters: towers fine-tuned by a few numbers a layer, for little memory and few rows.

A weight W is used as W + 2 B A, with B (out, rank) and A (rank, in) trained and W as it was (Hu et al., LoRA: Low-Rank
Adaptation of Large Language Models, 2021, https://arxiv.org/abs/2106.09685). Checkpoints hold the sums, so that whoever
reads one needs to know nothing of it. Measured in docs/lab-log.md, 2026-11-28.
"""

import math

import torch
from torch import nn
from torch.nn.utils import parametrize

SCALE = 2.0


class Adapter(nn.Module):
    """What is added to a weight; nothing at first."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        """
        Args:
            weight: float (out, ...), taken as a matrix (out, in).
            rank: of what is added, at most.
        """
        super().__init__()
        out, into = weight.shape[0], weight[0].numel()
        rank = min(rank, out, into)
        self.down = nn.Parameter(weight.new_empty(rank, into))
        self.up = nn.Parameter(weight.new_zeros(out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with what is added, in its own precision."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + SCALE * (self.up @ self.down).view_as(weight)


def add_adapters(towers: nn.Module, rank: int) -> None:
    """Freeze all parameters and give each linear layer, attention and ungrouped convolution an adapter.

    Of an attention that keeps the weights of its three projections as one matrix, that matrix gets one. Embeddings,
    norms, biases and depthwise convolutions have none.
    """
    towers.requires_grad_(False)
    for module in list(towers.modules()):
        name = _adapted(module)
        if name is not None:
            parametrize.register_parametrization(module, name, Adapter(getattr(module, name), rank))


def _adapted(module: nn.Module) -> str | None:
    """The name of the weight that gets an adapter; None for modules without one."""
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
        return "weight"
    is_packed = isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None
    return "in_proj_weight" if is_packed else None


def merged_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The `state_dict` that the model would have without adapters, what they add included."""
    state = model.state_dict()
    for prefix, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        stem = f"{prefix}." if prefix else ""
        parametrizations: nn.ModuleDict = module.parametrizations
        for name in parametrizations:
            inner = f"{stem}parametrizations.{name}."
            state = {key: tensor for key, tensor in state.items() if not key.startswith(inner)}
            state[stem + name] = getattr(module, name).detach()
    return state
