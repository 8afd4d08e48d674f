"""What one fold needs to be trained, whatever the stage; the protocols say what a model and a loader must offer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import torch

from ..config import Config, LearningRates
from ..model.speed_kinds import towers_named
from ..runtime.device import Precision
from ..runtime.distributed import World


class TrainingBatch(Protocol):
    """B rows.

    Attributes:
        rows: int64 (B,), positions in the catalogue.
        targets: int64 (B,), NO_TARGET on a row that doesn't count.
    """

    @property
    def rows(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def targets(self) -> torch.Tensor: ...  # noqa: D102
    def to(self, device: torch.device) -> Self: ...  # noqa: D102
    def __len__(self) -> int: ...


class BatchLoader(Protocol):
    """Batches over some rows; iterated once an epoch, after `set_epoch` when training."""

    @property
    def rows(self) -> np.ndarray:
        """int64, positions in the catalogue."""

    @property
    def batch_size(self) -> int:
        """Rows a batch, of all processes together."""

    @property
    def unreadable(self) -> set[str]:
        """A sentence for each picture met so far that couldn't be decoded."""

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order and the random views of the next pass, and the number of its first batch."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[TrainingBatch]: ...


class FoldModel(Protocol):
    """A torch module that makes logits float32 (B, classes) of a batch."""

    @property
    def precision(self) -> Precision:
        """Of the towers."""

    def __call__(self, batch: Any) -> torch.Tensor: ...  # noqa: D102
    def train(self, mode: bool = True) -> Self: ...  # noqa: D102
    def eval(self) -> Self: ...  # noqa: D102
    def to(self, device: torch.device) -> Self: ...  # noqa: D102
    def state_dict(self) -> dict[str, torch.Tensor]: ...  # noqa: D102

    def served_state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds, whatever the training added to the model."""

    def parameter_groups(self, rates: LearningRates) -> list[dict[str, object]]:
        """The optimiser's groups, with `name` and `lr`."""

    def freeze_unused(self) -> None:
        """Freeze the parameters that no logit depends on."""


@dataclass(frozen=True)
class FoldTask:
    """One fold to be trained.

    Attributes:
        stage: "stage1" or "stage2".
        fold: number of the fold that is held out.
        config: resolved.
        model: with its head initialised.
        train: shuffled loader of the training rows.
        validation: ordered loader of the held-out rows; with several processes, of this one's share.
        device: to train on.
        world: the processes that train together; every one of them gets the same results.
    """

    stage: str
    fold: int
    config: Config
    model: FoldModel
    train: BatchLoader
    validation: BatchLoader
    device: torch.device
    world: World = field(default_factory=World)

    @property
    def name(self) -> str:
        """For people, as `stage1 fold 0`."""
        return f"{self.stage} fold {self.fold}"

    @property
    def kinds(self) -> tuple[str, str]:
        """What its steps and its validation have a speed in common with; see `speed_kinds`."""
        return speed_kinds(self.stage, self.config)


def speed_kinds(stage: str, config: Config) -> tuple[str, str]:
    """What the speed of training depends on beside the machine, and that of validation, as phrases."""
    model, train = config.model, config.train
    towers = towers_named(model.name, model.pretrained)
    amp = "" if train.amp else " without amp"
    lora = "" if train.lora_rank is None else f", adapters of rank {train.lora_rank}"
    what = f"{stage} with {towers} at {config.data.img_size} pixels, {train.batch_size} rows a step{amp}{lora}"
    return f"training, {what}", f"validation, {what}"
