"""The optimiser's groups: each module's parameters, split where rates fall with depth or some aren't decayed.

Layer-wise rate decay as in BEiT (Bao et al., 2022, https://arxiv.org/abs/2106.08254): what a tower learnt first, and
every picture needs, moves least.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ..config import TrainConfig
from .fold_task import FoldModel

# modules of FoldModel.parameter_groups that have depth
TOWERS = ("image_encoder", "text_encoder")
# a numbered part of a tower: `transformer.resblocks.3.`, `encoder.layer.3.`, `trunk.blocks.3.`, `trunk.layer3.`
NUMBERED = re.compile(r"^(?P<stack>.*?(?:\blayer(?=\d)|\.(?=\d+\.)))(?P<number>\d+)\.")
# what stands before the blocks, though a projection or a pooler may be named alike
INPUT = re.compile(r"emb|token|stem|\bconv\d|\bbn1\b|ln_pre|norm_pre|pre_ln|\bshared\b")
OUTPUT = re.compile(r"pool|(?<!patch_embed\.)proj\b|projection|conv_head|\bhead\b")


def optimiser_groups(model: FoldModel, config: TrainConfig) -> list[dict[str, Any]]:
    """The model's groups, each with `name` and `lr`; several of a name where the configuration asks for it.

    Args:
        model: whose parameters are trained.
        config: rates, `layer_decay` and `decay_norms`.

    Returns:
        Groups for a torch optimiser. The first of a name has the module's own rate.
    """
    groups: list[dict[str, Any]] = model.parameter_groups(config.lrs)
    if config.layer_decay == 1 and config.decay_norms:
        return groups
    assert isinstance(model, nn.Module)  # noqa: S101 - a protocol can't say so
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [part for group in groups for part in _split(group, names, config)]


def _split(group: dict[str, Any], names: dict[nn.Parameter, str], config: TrainConfig) -> list[dict[str, Any]]:
    """The parts of a group, the topmost first."""
    parameters: list[nn.Parameter] = group["params"]
    below = [0] * len(parameters)
    if group["name"] in TOWERS and config.layer_decay < 1:
        below = steps_from_top([names[parameter] for parameter in parameters])
    parts: defaultdict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for steps, parameter in zip(below, parameters, strict=True):
        parts[steps, config.decay_norms or parameter.ndim > 1].append(parameter)
    top = min(below)
    found = []
    for (steps, is_decayed), members in sorted(parts.items(), key=lambda item: (item[0][0], not item[0][1])):
        rate = group["lr"] * config.layer_decay ** (steps - top)
        found.append(group | {"params": members, "lr": rate} | ({} if is_decayed else {"weight_decay": 0.0}))
    return found


def steps_from_top(names: Sequence[str]) -> list[int]:
    """How many layers lie above each parameter of a tower.

    A tower is its input (embeddings, stem), its blocks one after the other, and its output (last norm, projection):
    the output is 0, the input one more than there are blocks. The blocks are the longest run of numbered parts: those
    of a transformer, or the stages of a convolutional net.

    Args:
        names: of the parameters.
    """
    numbered = [NUMBERED.match(name) for name in names]
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for match in numbered:
        if match and not INPUT.search(match["stack"]):  # a stem may be numbered too
            numbers[match["stack"]].add(int(match["number"]))
    if not numbers:
        return [0] * len(names)
    stack = max(numbers, key=lambda prefix: len(numbers[prefix]))
    order = {number: place for place, number in enumerate(sorted(numbers[stack], reverse=True), start=1)}
    found = []
    for name, match in zip(names, numbered, strict=True):
        if match and match["stack"] == stack:
            found.append(order[int(match["number"])])
        else:
            found.append(len(order) + 1 if INPUT.search(name) and not OUTPUT.search(name) else 0)
    return found


def top_rates(groups: Iterable[dict[str, Any]]) -> dict[str, float]:
    """The rate of each module's top layer, by the module's name."""
    rates: dict[str, float] = {}
    for group in groups:
        rates.setdefault(group["name"], float(group["lr"]))
    return rates
