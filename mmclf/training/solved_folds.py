"""Folds whose head is solved: no epochs, one result."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..config import Config
from ..data.folds import Split
from ..evaluation.metrics import log_loss, top_k
from ..evaluation.probabilities import ProbabilityTable
from ..model.checkpoint import HEAD, save_checkpoint
from ..model.head_inputs import HeadInputs, ScoringHead
from ..model.identity import BackboneSpec
from ..model.kernels import Prepared, features_used
from ..runtime.progress import step
from ..runtime.speed import Stopwatch, peak_memory
from .crossval import FoldOutcome, Report, describe, describe_fold, held_out_table
from .epoch import EpochResult
from .feature_loader import TableFeatures
from .fold_state import FoldStates
from .kernel_fit import FittedHead, fit_kernel_head
from .zero_shot_fit import PlainFigures, ZeroShotSolver


class SolvedHead(ScoringHead, Protocol):
    """A head that can be kept."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it."""


class Fitted(Protocol):
    """A head, the mean of -log p(true class) of training rows, and their probabilities by heads of the others."""

    @property
    def head(self) -> SolvedHead: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def left_out(self) -> np.ndarray | None: ...  # noqa: D102


class Solver(Protocol):
    """Solves heads on some rows of a table."""

    @property
    def inputs(self) -> HeadInputs:
        """The rows of the table."""

    def fit(self, rows: np.ndarray) -> Fitted:
        """A head of the rows at these positions."""


class KernelSolver:
    """Solves kernel heads on some rows of a table."""

    def __init__(self, split: Split, config: Config, features: TableFeatures) -> None:
        """See `SolvedFolds`."""
        kernels = config.model.kernels
        self._split, self._config = split, config
        self._rows = Prepared.of(features.head_inputs(features_used(kernels)), kernels)
        self._targets = split.catalog.targets(split.catalog.classes)

    @property
    def inputs(self) -> HeadInputs:
        """The rows of the table."""
        return self._rows.inputs

    def fit(self, rows: np.ndarray) -> FittedHead:
        """A head of the rows at these positions.

        Raises:
            TrainingError: none of them has what the kernels compare.
        """
        groups = self._split.catalog.groups
        return fit_kernel_head(
            self._rows,
            rows,
            self._targets[rows],
            len(self._split.catalog.classes),
            self._config.model.kernels,
            None if groups is None else [groups[row] for row in rows],
            self._config.train.seed,
        )


class SolvedFolds:
    """The folds of a table; what doesn't depend on the fold is done once."""

    def __init__(self, split: Split, config: Config, features: TableFeatures, backbone: BackboneSpec) -> None:
        """
        Args:
            split: the catalogue and its folds.
            config: resolved.
            features: of the catalogue.
            backbone: that they come from.

        Raises:
            AlignmentError: a zero-shot head on towers that aren't aligned.
        """
        self._split, self._config, self._features, self._backbone = split, config, features, backbone
        self._targets = split.catalog.targets(split.catalog.classes)
        self._plain: PlainFigures | None = None
        self._solver: Solver
        if config.model.head == "zero-shot":
            zero_shot = ZeroShotSolver(split.catalog, config, features, backbone.identity)
            self._solver, self._plain = zero_shot, zero_shot.plain
        else:
            self._solver = KernelSolver(split, config, features)

    @property
    def plain(self) -> PlainFigures | None:
        """What the classes' names reach without anything fitted; None of a head that doesn't know them."""
        return self._plain

    def solve(self, fold: int, states: FoldStates, report: Report) -> FoldOutcome:
        """Solve on the rows of the other folds, score this one's, and keep the head.

        Args:
            fold: the one that is held out.
            states: whose folder of the checkpoint holds the head afterwards; a solution is made at once, or anew.
            report: called with the result, as if it were that of one epoch.

        Raises:
            TrainingError: no training row has what the kernels compare.
        """
        split, config = self._split, self._config
        train, held_out = split.train_rows(fold), split.held_out(fold)
        watch = Stopwatch()
        with step(solving_kind(config, len(self._targets)), len(train), "solving"):
            fitted = self._solver.fit(train)
        seconds = watch.seconds
        probabilities = fitted.head.probabilities(self._solver.inputs.take(held_out)).numpy()
        targets = self._targets[held_out]
        result = EpochResult(
            epoch=1,
            train_loss=fitted.loss,
            val_loss=log_loss(probabilities, targets),
            val_top1=top_k(probabilities, targets, 1),
            val_top3=top_k(probabilities, targets, 3),
            learning_rates={},
            seconds=watch.seconds,
            rows_per_second=len(train) / seconds,
            data_wait=0.0,
            peak_memory=peak_memory(torch.device("cpu")),
            is_best=True,
            probabilities=probabilities,
        )
        save_checkpoint(
            states.checkpoint, _state(fitted), describe_fold("stage1", fold, config, split, self._backbone, result)
        )
        report(result)
        unreadable = tuple(sorted(set(self._features.encoder.unreadable.values())))
        return FoldOutcome(held_out_table(split, fold, probabilities), unreadable)

    def solve_all(self, checkpoint: Path) -> ProbabilityTable | None:
        """Solve on all rows and keep the head: what is served, made as those that were measured.

        Args:
            checkpoint: folder that holds the head afterwards.

        Returns:
            Each row's probabilities by a head of the others, for judging its label; None where the head doesn't tell.
        """
        rows = len(self._targets)
        with step(solving_kind(self._config, rows), rows, "solving for all rows"):
            fitted = self._solver.fit(np.arange(rows))
        meta = describe("stage1", None, self._config, self._split, self._backbone, {"train_loss": fitted.loss})
        save_checkpoint(checkpoint, _state(fitted), meta)
        if fitted.left_out is None:
            return None
        catalog = self._split.catalog
        labels = list(catalog.labels or [])
        return ProbabilityTable(list(catalog.ids), catalog.classes, fitted.left_out, None, labels)


def solving_kind(config: Config, rows: int) -> str:
    """What the heads of tables of about so many rows have a speed in common with, as a phrase."""
    return f"solving a {config.model.head} head, up to {1 << rows.bit_length():,} rows"


def _state(fitted: Fitted) -> dict[str, torch.Tensor]:
    return {HEAD + name: tensor for name, tensor in fitted.head.tensors().items()}
