"""What a report is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..data.rows import Rows
from ..evaluation.crossvalidation import Figures, figures_of
from ..evaluation.probabilities import ProbabilityTable
from .new_data import NewData


@dataclass(frozen=True)
class FoldHistory:
    """The curves of a fold, a value an epoch.

    Attributes:
        fold: its number.
        train_loss, val_loss: mean cross-entropy, in nats.
        val_top1: share in [0, 1].
    """

    fold: int
    train_loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    val_top1: tuple[float, ...]

    @property
    def epochs(self) -> int:
        """How many there were."""
        return len(self.val_top1)

    @property
    def best(self) -> int:
        """Number of the epoch that is kept, 1 for the first."""
        return int(np.argmax(self.val_top1)) + 1


@dataclass(frozen=True)
class Member:
    """Of a fusion.

    Attributes:
        name: for people.
        weight: the same, as "0.42" or "left out".
        figures: what it reaches alone.
    """

    name: str
    weight: str
    figures: Figures


@dataclass(frozen=True)
class Modalities:
    """The rows that have both a picture and a text, scored without the one or the other.

    Attributes:
        both: bool (rows,), which rows have both.
        by_text: float (rows, classes), probabilities with the picture taken away; anything where `both` is false.
        by_picture: the same with the text taken away.
    """

    both: np.ndarray
    by_text: np.ndarray
    by_picture: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Rows with labels and probabilities, and what else is known of them.

    Attributes:
        title: of the report.
        facts: name and value of what it is about: data, backbone, run.
        table: with labels; folds where they are out of fold.
        rows: texts and pictures, in the order of the table; None where the catalogue isn't at hand.
        groups: of the rows; None where each stands alone.
        histories: of the folds that were trained epoch by epoch.
        members: of a fusion.
        modalities: None where it isn't known.
        cut: bool (rows,), texts longer than what is read; None where it isn't known.
        left_out: the same rows and classes, each row scored by a model of all others, for judging its label; None
            where only `table` is there.
        new: of rows that came after the training; None for those that it was trained with.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    table: ProbabilityTable
    rows: Rows | None = None
    groups: Sequence[str] | None = None
    histories: Sequence[FoldHistory] = ()
    members: Sequence[Member] = ()
    modalities: Modalities | None = None
    cut: np.ndarray | None = None
    left_out: ProbabilityTable | None = None
    new: NewData | None = None

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def targets(self) -> np.ndarray:
        """int64 (rows,), the given classes."""
        return self.table.targets()

    @property
    def of_labels(self) -> ProbabilityTable:
        """The table that labels are judged by."""
        return self.table if self.left_out is None else self.left_out

    @cached_property
    def predictions(self) -> np.ndarray:
        """int64 (rows,), the most probable classes."""
        found: np.ndarray = self.table.probabilities.argmax(axis=1)
        return found

    @cached_property
    def hits(self) -> np.ndarray:
        """Bool (rows,), whether the most probable class is the given one."""
        found: np.ndarray = self.predictions == self.targets
        return found

    @cached_property
    def figures(self) -> Figures:
        """Of the table."""
        return figures_of(self.table)

    @cached_property
    def units(self) -> np.ndarray:
        """int64 (rows,), number of each row's group, or of the row itself."""
        if self.groups is None:
            return np.arange(len(self))
        found: np.ndarray = np.unique(self.groups, return_inverse=True)[1]
        return found
