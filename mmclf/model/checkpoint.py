"""Checkpoints: `weights.safetensors` and `meta.json` in a folder, written whole or not at all.

A stage-1 checkpoint holds the head and the identity of the frozen backbone. A stage-2 checkpoint holds the
fine-tuned towers too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..config import Config
from ..data.images import Transform
from ..errors import CheckpointError
from ..store.files import atomic_folder, read_header, write_header
from .classifier import Head
from .head_inputs import ScoringHead
from .identity import BackboneIdentity

WEIGHTS, META = "weights.safetensors", "meta.json"
HEAD, TOWERS = "head.", "backbone.clip."
ALL_ROWS = "all-rows"


class CheckpointMeta(BaseModel):
    """All that is needed to use the weights, besides the backbone that a stage-1 checkpoint names.

    Attributes:
        format: of this file; 1.
        stage: "stage1" or "stage2".
        fold: number of the fold that the model was validated on; None where it was trained on all rows.
        classes: labels in the order of the logits.
        id_col, label_col, text_cols: columns of the table that it was trained on.
        backbone: identity of the pretrained backbone.
        transform: img_size, mean, std and interpolation of the pictures.
        config: the resolved configuration.
        metrics: figures of the epoch that the weights come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    stage: Literal["stage1", "stage2"]
    fold: int | None
    classes: tuple[str, ...]
    id_col: str
    label_col: str
    text_cols: tuple[str, ...]
    backbone: BackboneIdentity
    transform: Transform
    config: Config
    metrics: dict[str, float]


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
            CheckpointError: the file is missing or damaged.
        """
        path = self.folder / WEIGHTS
        try:
            with safe_open(path, framework="pt") as file:
                return {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: missing or damaged ({error}); train this fold again") from None


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
        write_header(draft / META, meta)


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
        head = build_head(meta.backbone, meta.config, len(meta.classes))
        load_head(head, checkpoint)
        return head.to(device).eval()
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
    return solved


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
