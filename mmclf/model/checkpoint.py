"""Checkpoints: `weights.safetensors` and `meta.json` in a folder, written whole or not at all.

`meta.json` holds its own SHA-256 and that of the weights, so that neither is used when it was damaged or exchanged.

A stage-1 checkpoint holds the head and the identity of the frozen backbone. A stage-2 checkpoint holds the
fine-tuned towers too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..config import Config
from ..data.images import Transform
from ..errors import CheckpointError
from ..store.files import atomic_folder, read_header, sha256_of, write_header
from .classifier import Head
from .finite import is_finite
from .head_inputs import ScoringHead
from .identity import OUTLINE_DIM, BackboneIdentity

WEIGHTS, META = "weights.safetensors", "meta.json"
HEAD, TOWERS = "head.", "backbone.clip."
ALL_ROWS = "all-rows"


def _check_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise PydanticCustomError("classes", "{name} stands there twice", {"name": repr(twice)})
    return classes


class CheckpointMeta(BaseModel):
    """All that is needed to use the weights, besides the backbone that a stage-1 checkpoint names.

    Attributes:
        format: of this file; 1.
        stage: "stage1" or "stage2".
        fold: number of the fold that the model was validated on; None where it was trained on all rows.
        classes: labels in the order of the logits, each once.
        id_col, label_col, text_cols: columns of the table that it was trained on.
        backbone: identity of the pretrained backbone.
        transform: img_size, mean, std and interpolation of the pictures.
        config: the resolved configuration.
        metrics: figures of the epoch that the weights come from.
        file_sha256: of `weights.safetensors`; `save_checkpoint` writes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    stage: Literal["stage1", "stage2"]
    fold: int | None
    classes: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_check_classes)]
    id_col: str
    label_col: str
    text_cols: tuple[str, ...]
    backbone: BackboneIdentity
    transform: Transform
    config: Config
    metrics: dict[str, float]
    file_sha256: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A folder with weights, and what is known of them."""

    folder: Path
    meta: CheckpointMeta

    @property
    def name(self) -> str:
        """Of its folder in a run or a bundle: `fold-0`, or `all-rows`."""
        return ALL_ROWS if self.meta.fold is None else f"fold-{self.meta.fold}"

    @property
    def has_towers(self) -> bool:
        """Whether the towers were trained and lie in the checkpoint."""
        return self.meta.stage == "stage2"

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """The weights whose names start with `prefix`, without it, on the CPU.

        Raises:
            CheckpointError: the file is missing, damaged or another one, or holds a number that isn't finite.
        """
        self.check_weights()
        path = self.folder / WEIGHTS
        try:
            with safe_open(path, framework="pt") as file:
                found = {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: missing or damaged ({error}); train this fold again") from None
        for name, tensor in found.items():
            if not is_finite(tensor):
                raise CheckpointError(f"{path}: {prefix}{name} holds nan or inf: its training diverged; train it again")
        return found

    def check_weights(self) -> None:
        """The weights are those that `meta.json` was written with.

        Raises:
            CheckpointError: the file is missing, damaged or another one.
        """
        path = self.folder / WEIGHTS
        try:
            sha256 = self._file_sha256
        except OSError as error:
            raise CheckpointError(f"{path}: missing or damaged ({error}); train this fold again") from None
        if sha256 != self.meta.file_sha256:
            raise CheckpointError(
                f"{path}: damaged, or not the weights that {META} belongs to (SHA-256 {sha256[:12]}, then "
                f"{self.meta.file_sha256[:12]}); copy the checkpoint again, or train this fold again"
            )

    @cached_property
    def _file_sha256(self) -> str:
        return sha256_of(self.folder / WEIGHTS)


def save_checkpoint(folder: Path, state: Mapping[str, torch.Tensor], meta: CheckpointMeta) -> None:
    """Write a checkpoint folder: complete, or not there at all. A former one at this place is replaced.

    Args:
        folder: of the checkpoint.
        state: of the model, as `state_dict` gives it; of stage 1 the head alone is kept.
        meta: of it.
    """
    kept = {name: tensor for name, tensor in state.items() if name.startswith(HEAD) or meta.stage == "stage2"}
    with atomic_folder(folder) as draft:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}, draft / WEIGHTS)
        write_header(draft / META, meta.model_copy(update={"file_sha256": sha256_of(draft / WEIGHTS)}))


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read and check `meta.json`; the weights are read when they are needed.

    Raises:
        CheckpointError: no such file, or not one that this version reads.
    """
    return Checkpoint(folder, read_header(folder / META, CheckpointMeta, CheckpointError, "is the run complete?"))


def open_head(checkpoint: Checkpoint, device: torch.device) -> ScoringHead:
    """A checkpoint's head, ready to score.

    Raises:
        CheckpointError: the file is missing or damaged, or doesn't fit its description.
    """
    meta = checkpoint.meta
    if meta.config.model.head == "mlp":
        return _open_mlp(checkpoint).to(device).eval()
    from .kernel_head import KernelHead
    from .zero_shot import ZeroShotHead

    kind = ZeroShotHead if meta.config.model.head == "zero-shot" else KernelHead
    try:
        solved = kind.from_tensors(checkpoint.tensors(HEAD))
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.folder}: its head doesn't fit: {error}") from None
    if len(solved.log_prior) != len(meta.classes):
        raise CheckpointError(
            f"{checkpoint.folder}: its head has {len(solved.log_prior)} classes, but {META} names {len(meta.classes)}"
        )
    image_dim, text_dim, layers_dim = meta.backbone.widths
    widths = {"image": image_dim, "layers": layers_dim, "outline": OUTLINE_DIM, "text": text_dim, "title": text_dim}
    for name, width in solved.widths.items():
        if width != widths[name]:
            raise CheckpointError(
                f"{checkpoint.folder}: its head reads {name} features of width {width}, but the backbone's have "
                f"{widths[name]}"
            )
    return solved


def _open_mlp(checkpoint: Checkpoint) -> Head:
    """What `meta.json` claims of the head's size is compared with the weights before anything is allocated."""
    meta, state = checkpoint.meta, checkpoint.tensors(HEAD)
    features = meta.backbone.image_dim + meta.backbone.text_dim
    claimed = Head.count(features, meta.config.model.hidden_dim, len(meta.classes))
    stored = sum(tensor.numel() for tensor in state.values())
    if claimed != stored:
        raise CheckpointError(
            f"{checkpoint.folder}: its head doesn't fit: {stored:,} numbers are stored, but {META} describes "
            f"{len(meta.classes)} classes and {features:,} features, which take {claimed:,}"
        )
    head = build_head(meta.backbone, meta.config, len(meta.classes))
    _load_strictly(head, state, checkpoint)
    return head


def load_head(head: Head, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's MLP head, strictly.

    Raises:
        CheckpointError: its shapes differ (other classes, hidden_dim or feature widths).
    """
    _load_strictly(head, checkpoint.tensors(HEAD), checkpoint)


def build_head(identity: BackboneIdentity, config: Config, classes: int) -> Head:
    """A new MLP head of the configured size for these towers; initialised from torch's global generator."""
    features = identity.image_dim + identity.text_dim
    return Head(features, config.model.hidden_dim, classes, config.model.dropout)


def _load_strictly(module: torch.nn.Module, state: dict[str, torch.Tensor], checkpoint: Checkpoint) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{checkpoint.folder}: its head doesn't fit: {reason}") from None
