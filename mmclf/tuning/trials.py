"""What a trial is, and how far it got."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from .space import Settings


class State(StrEnum):
    """How a trial ended. One that a kill cut off isn't a trial; it is done again."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Goal:
    """What decides.

    Attributes:
        metric: a field of evaluation/crossvalidation.py's `Figures`.
        name: for people.
        smaller: whether less is better.
    """

    metric: str
    name: str
    smaller: bool

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another."""
        return value < other if self.smaller else value > other


# by metric of a run. The loss is the default: it sees how sure a right answer is, so it tells trials apart that differ
# by less than a row of top-1, and what register, thresholds and fusions build on is the confidence
GOALS = {"cv/loss": Goal("loss", "loss", True), "cv/top1_mean": Goal("top1_mean", "top-1", False)}


@dataclass(frozen=True)
class FoldScore:
    """What a fold reached on the rows that it held out."""

    fold: int
    loss: float
    top1: float

    def of(self, goal: Goal) -> float:
        """What counts towards the goal."""
        return self.loss if goal.smaller else self.top1


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes:
        number: 0 for the first.
        settings: dotted key -> value.
        state: how it ended.
        folds: that were trained, in their order; all of them where it is complete.
        figures: over all folds, by the fields of `Figures`; none where it isn't complete.
        seconds: that it took.
        reason: why it failed.
    """

    number: int
    settings: Settings
    state: State
    folds: tuple[FoldScore, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)
    reason: str = field(default="", compare=False)

    def value(self, goal: Goal) -> float:
        """What it reached; the mean over its folds where it isn't complete, nan without a fold."""
        if self.figures:
            return self.figures[goal.metric]
        values = [fold.of(goal) for fold in self.folds]
        return sum(values) / len(values) if values else float("nan")


def complete_trials(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """Those that are complete, the best first; of equals the earlier one."""
    found = [trial for trial in trials if trial.state == State.COMPLETE]
    return sorted(found, key=lambda t: (t.value(goal) if goal.smaller else -t.value(goal), t.number))


def estimates(trials: Sequence[Trial], goal: Goal) -> dict[int, float]:
    """What each trial with a fold reached, by number; of a pruned one what all folds would have shown.

    Folds differ more than settings do, so a pruned trial counts as the best one plus their mean difference on the folds
    that it has.
    """
    complete = complete_trials(trials, goal)
    if not complete:
        return {}
    best = complete[0]
    of_best = {fold.fold: fold.of(goal) for fold in best.folds}
    found = {}
    for trial in trials:
        if trial.state == State.PRUNED and trial.folds:
            gaps = [fold.of(goal) - of_best[fold.fold] for fold in trial.folds]
            found[trial.number] = best.value(goal) + sum(gaps) / len(gaps)
        elif trial.state == State.COMPLETE:
            found[trial.number] = trial.value(goal)
    return found


def show_settings(settings: Settings) -> str:
    """Settings for people."""
    return " ".join(f"{key}={show(value)}" for key, value in settings.items())


def show(value: object) -> str:
    """A value for people."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
