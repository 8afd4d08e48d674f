"""What scores as one model: experts, each a few checkpoints that are averaged, and how the experts are pooled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..config import Config
from ..errors import RowError
from ..evaluation.pool import Pool
from ..evaluation.probabilities import merge_classes
from ..evaluation.thresholds import Threshold
from ..model.checkpoint import Checkpoint, CheckpointMeta
from .fold_models import Member, members_of


@dataclass(frozen=True)
class Expert:
    """Checkpoints whose probabilities are averaged, at least one, and the configuration they are used with."""

    checkpoints: tuple[Checkpoint, ...]
    config: Config


@dataclass(frozen=True)
class Mixture:
    """Experts that read rows in the same way; with a pool, some may know classes that others don't.

    Attributes:
        experts: at least one.
        pool: a weight for each; None for one expert as it is.
        thresholds: from which confidence on rows are labelled, by the precision that is wanted, ascending.
    """

    experts: tuple[Expert, ...]
    pool: Pool | None = None
    thresholds: tuple[Threshold, ...] = ()

    @classmethod
    def of(cls, checkpoints: Sequence[Checkpoint], config: Config) -> "Mixture":
        """The checkpoints of one run as they are."""
        return cls((Expert(tuple(checkpoints), config),))

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Of all experts."""
        return [checkpoint for expert in self.experts for checkpoint in expert.checkpoints]

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the probabilities."""
        return merge_classes([expert.checkpoints[0].meta.classes for expert in self.experts])

    @property
    def config(self) -> Config:
        """Of the first expert; how rows are read is the same for all."""
        return self.experts[0].config

    @property
    def meta(self) -> CheckpointMeta:
        """Of a checkpoint: names of the columns, backbone."""
        return self.experts[0].checkpoints[0].meta

    def least_confidence(self, precision: float, name: str = "precision") -> float:
        """The confidence from which on a row is labelled; of the next higher precision that has a threshold.

        Args:
            precision: wanted share of right ones among the labelled rows; 0 labels all.
            name: of it, for messages.

        Raises:
            RowError: none is as high, or it is no share below 1.
        """
        if not 0 <= precision < 1:
            raise RowError(f"{name}: found {precision}; it should be below 1, as 0.98, or 0 for none")
        if precision == 0:
            return 0.0
        for threshold in self.thresholds:
            if threshold.precision >= precision:
                return threshold.confidence
        known = ", ".join(f"{threshold.precision:g}" for threshold in self.thresholds)
        raise RowError(
            f"{name}: found {precision:g}, but "
            + (
                f"the rows held out when the model was trained reach only {known}"
                if known
                else "the model has no thresholds: it isn't registered, or no confidence was reliable enough"
            )
        )

    def members(self, first: int = 0) -> list[Member]:
        """What scores, each with the number of its expert, counted from `first`.

        Raises:
            CheckpointError: no checkpoint, or an expert's checkpoints with different classes.
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
