"""What scores as one model: experts, each a few checkpoints that are averaged, and how the experts are pooled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..config import Config
from ..evaluation.pool import Pool
from ..model.checkpoint import Checkpoint, CheckpointMeta
from .fold_models import Member, members_of


@dataclass(frozen=True)
class Expert:
    """Checkpoints whose probabilities are averaged, at least one, and the configuration they are used with."""

    checkpoints: tuple[Checkpoint, ...]
    config: Config


@dataclass(frozen=True)
class Mixture:
    """Experts that know the same classes and read rows in the same way.

    Attributes:
        experts: at least one.
        pool: a weight for each; None for one expert as it is.
    """

    experts: tuple[Expert, ...]
    pool: Pool | None = None

    @classmethod
    def of(cls, checkpoints: Sequence[Checkpoint], config: Config) -> "Mixture":
        """The checkpoints of one run as they are."""
        return cls((Expert(tuple(checkpoints), config),))

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Of all experts."""
        return [checkpoint for expert in self.experts for checkpoint in expert.checkpoints]

    @property
    def config(self) -> Config:
        """Of the first expert; how rows are read is the same for all."""
        return self.experts[0].config

    @property
    def meta(self) -> CheckpointMeta:
        """Of a checkpoint: classes, names of the columns."""
        return self.experts[0].checkpoints[0].meta

    def members(self, first: int = 0) -> list[Member]:
        """What scores, each with the number of its expert, counted from `first`.

        Raises:
            CheckpointError: no checkpoint, or checkpoints with different classes.
        """
        return [
            replace(member, expert=number)
            for number, expert in enumerate(self.experts, start=first)
            for member in members_of(expert.checkpoints, expert.config.data, expert.config.infer)
        ]

    def combine(self, totals: np.ndarray) -> np.ndarray:
        """float64 (n, classes), of the experts' probabilities (experts, n, classes)."""
        found: np.ndarray = totals[0] if self.pool is None else self.pool.combine(list(totals))
        return found


def average(mixtures: Sequence[Mixture], totals: np.ndarray) -> np.ndarray:
    """float64 (n, classes): the mean of several mixtures.

    Args:
        mixtures: at least one.
        totals: (experts, n, classes), of the experts of all of them in their order.
    """
    found, first = np.zeros(totals.shape[1:]), 0
    for mixture in mixtures:
        last = first + len(mixture.experts)
        found += mixture.combine(totals[first:last])
        first = last
    return found / len(mixtures)
