"""The models that score: checkpoints with their backbones, loaded when it is their turn.

Checkpoints that share a frozen backbone are scored by it in one pass; a fine-tuned one, another size or another length
of text needs a pass of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

from ..config import DataConfig, InferConfig
from ..errors import CheckpointError
from ..evaluation.probabilities import merge_classes
from ..model.checkpoint import TOWERS, Checkpoint, open_head
from ..model.head_inputs import ScoringHead
from ..model.identity import BackboneSpec
from ..model.towers import Towers, find_spec
from ..runtime.device import Precision
from ..store.cache import Cache

if TYPE_CHECKING:
    from ..model.backbone import Backbone


@dataclass(frozen=True)
class Member:
    """One checkpoint at one size of the pictures, what its probabilities count, and in which expert's sum."""

    checkpoint: Checkpoint
    img_size: int
    max_len: int
    weight: float
    expert: int = 0


@dataclass(frozen=True)
class Pass:
    """Members that one backbone scores together."""

    members: tuple[Member, ...]

    @property
    def img_size(self) -> int:
        """Side of the pictures in pixels."""
        return self.members[0].img_size

    @property
    def max_len(self) -> int:
        """Tokens of text."""
        return self.members[0].max_len


@dataclass(frozen=True)
class Loaded:
    """The towers of a pass, which are loaded when they are needed, and its heads in the order of the members.

    Attributes:
        towers: frozen.
        heads: ready to score.
        is_fine_tuned: the towers are the checkpoint's own.
    """

    towers: Towers
    heads: list[ScoringHead]
    is_fine_tuned: bool


def members_of(checkpoints: Sequence[Checkpoint], data: DataConfig, infer: InferConfig) -> list[Member]:
    """The folds of a run at all sizes, counting the same.

    Raises:
        CheckpointError: no checkpoint, or checkpoints with different classes.
    """
    check_classes(checkpoints)
    sizes = list(dict.fromkeys(infer.img_sizes or [data.img_size]))
    weight = 1 / (len(checkpoints) * len(sizes))
    return [Member(checkpoint, size, data.max_len, weight) for size in sizes for checkpoint in checkpoints]


class FoldModels:
    """What scores, one backbone in memory at a time, or as many as there is room for.

    Attributes:
        classes: labels in the order of the probabilities.
        columns: of each expert, int64 positions of its own classes in `classes`.
        passes: in the order they are best taken in.
        experts: how many sums of probabilities there are.
        combine: makes probabilities (n, classes) of these sums, float64 (experts, n, classes), nan of classes that an
            expert doesn't know.
        device: where the models are.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        device: torch.device,
        precision: Precision,
        keep: bool = False,
        cache: Cache | None = None,
        combine: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """
        Args:
            members: at least one, those of an expert of the same classes.
            device: for the models.
            precision: of the towers.
            keep: hold the backbones of several passes, for a service that is asked again and again: each one whose size
                again is still free afterwards. Else only the last.
            cache: where frozen backbones are known without loading them.
            combine: see there; None for a single expert.

        Raises:
            CheckpointError: no member, or an expert's members with different classes.
        """
        of_expert: dict[int, list[Checkpoint]] = {}
        for member in members:
            of_expert.setdefault(member.expert, []).append(member.checkpoint)
        for checkpoints in [*of_expert.values()] or [[]]:
            check_classes(checkpoints)
        known = {expert: checkpoints[0].meta.classes for expert, checkpoints in of_expert.items()}
        self.classes = merge_classes(list(known.values()))
        position = {name: column for column, name in enumerate(self.classes)}
        self.columns = {expert: np.array([position[name] for name in names]) for expert, names in known.items()}
        self.passes = [Pass(tuple(group)) for group in _by_backbone(members)]
        self.experts = 1 + max(member.expert for member in members)
        self.combine = combine or (lambda totals: totals[0])
        self.device = device
        self.precision = precision
        self.cache = cache
        self._keep = keep
        self._loaded: dict[int, Loaded] = {}  # by the number of the pass
        self._backbones: dict[int, Backbone] = {}

    @property
    def are_kept(self) -> bool:
        """Whether the backbones of all passes are in memory, and so none is let go any more."""
        return len(self._backbones) == len(self.passes)

    def load(self, number: int) -> Loaded:
        """The heads of a pass, and its towers to be loaded.

        Raises:
            BackboneError: the backbone can't be loaded.
            CheckpointError: a checkpoint can't be read, or doesn't fit.
        """
        if number not in self._loaded:
            heads = [open_head(member.checkpoint, self.device) for member in self.passes[number].members]
            fine_tuned = self.passes[number].members[0].checkpoint.has_towers
            self._loaded[number] = Loaded(_PassTowers(self, number), heads, fine_tuned)
        return self._loaded[number]

    def backbone(self, number: int) -> "Backbone":
        """The backbone of a pass. Of the others, those that mustn't stay are let go, or their memory is used again.

        Raises:
            BackboneError: it can't be loaded.
            CheckpointError: its weights are not those that the heads were trained on.
        """
        if number not in self._backbones:
            chosen = self.passes[number]
            first = chosen.members[0].checkpoint
            former = None
            if self._backbones and not (self._keep and self._has_room()):
                former = self._backbones.popitem()[1]
                if not fits(former, first, chosen.img_size):
                    former = None  # its memory is needed now
            backbone = restore_backbone(first, chosen.img_size, reuse=former).to(self.device)
            self._backbones[number] = backbone.eval()
        return self._backbones[number]

    def _has_room(self) -> bool:
        """Whether another model of the size of the last one leaves as much free as it takes."""
        last = next(reversed(self._backbones.values()))
        size = sum(tensor.nbytes for tensor in last.state_dict().values())
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
        else:
            free = int(psutil.virtual_memory().available)
        return bool(free > 2 * size)


class _PassTowers:
    """The towers of a pass."""

    def __init__(self, models: FoldModels, number: int) -> None:
        self._models = models
        self._number = number
        self._spec: BackboneSpec | None = None

    @property
    def spec(self) -> BackboneSpec:
        """Of the backbone: known from the checkpoint or the cache, else by loading it."""
        if self._spec is None:
            self._spec = self._find_spec()
        return self._spec

    def _find_spec(self) -> BackboneSpec:
        chosen, cache = self._models.passes[self._number], self._models.cache
        checkpoint = chosen.members[0].checkpoint
        identity = checkpoint.meta.backbone
        if checkpoint.has_towers:
            transform = replace(checkpoint.meta.transform, img_size=chosen.img_size)
            # nothing is kept of it that the digest would tell apart, and its texts are as long as they were
            return BackboneSpec(identity, transform, tokenizer="", most_tokens=chosen.max_len)
        if cache is None:
            return self.load().spec
        return find_spec(cache, (identity.name, identity.pretrained or None, chosen.img_size), self.load, identity)

    def load(self) -> "Backbone":
        """The backbone, on the device."""
        return self._models.backbone(self._number)


def fits(backbone: "Backbone", checkpoint: Checkpoint, img_size: int) -> bool:
    """Whether a checkpoint's fine-tuned towers can be loaded into this backbone, whatever its weights."""
    here, there = backbone.identity, checkpoint.meta.backbone
    same = (here.name, here.pretrained, backbone.transform.img_size) == (there.name, there.pretrained, img_size)
    return same and checkpoint.has_towers


def restore_backbone(checkpoint: Checkpoint, img_size: int, *, reuse: "Backbone | None" = None) -> "Backbone":
    """The backbone that a checkpoint's head was trained on: fine-tuned, or the frozen one it names.

    Args:
        checkpoint: of either stage.
        img_size: side of the pictures; position embeddings are resized to it.
        reuse: a backbone that isn't needed any more and `fits`: the weights are loaded into it.

    Raises:
        BackboneError: the frozen backbone can't be loaded.
        CheckpointError: it is no longer the one that the head was trained on, or the weights don't fit.
    """
    from ..model.loading import load_backbone  # open_clip takes seconds, which stored features spare

    identity = checkpoint.meta.backbone
    backbone = reuse or load_backbone(
        identity.name,
        identity.pretrained or None,
        img_size,
        load_weights=not checkpoint.has_towers,
        widths=identity.widths if img_size == checkpoint.meta.transform.img_size else None,
    )
    if checkpoint.has_towers:
        backbone.load_towers(checkpoint.tensors(TOWERS), checkpoint.meta.transform.img_size)
    elif not backbone.identity.same_weights(identity):
        raise CheckpointError(
            f"{identity.name}: its weights are not the ones that {checkpoint.folder} was trained on (SHA-256 "
            f"{backbone.identity.weights_sha256[:12]}, then {identity.weights_sha256[:12]}); put the former "
            "weights back, or train stage 1 again"
        )
    return backbone


def check_classes(checkpoints: Sequence[Checkpoint]) -> None:
    """All checkpoints name the same classes in the same order.

    Raises:
        CheckpointError: they don't, or there is none.
    """
    if not checkpoints:
        raise CheckpointError("the run has no finished fold, so there is nothing to score with")
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.meta.classes != first.meta.classes:
            differing = sorted(set(other.meta.classes) ^ set(first.meta.classes))
            raise CheckpointError(f"{other.folder}: its classes differ from those of {first.folder}: {differing[:5]}")


def _by_backbone(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Members that can share one pass, together: frozen towers of the same weights, at the same size and length.

    The sizes come one after another, since a backbone is built for one of them.
    """
    for size in dict.fromkeys(member.img_size for member in members):
        frozen: dict[tuple[str, int], list[Member]] = {}
        for member in members:
            meta = member.checkpoint.meta
            if member.img_size != size:
                continue
            if member.checkpoint.has_towers:
                yield [member]
            else:
                key = meta.backbone.activation + meta.backbone.weights_sha256, member.max_len
                frozen.setdefault(key, []).append(member)
        yield from frozen.values()
