"""What a search found: its files, its figures, and what is said of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config import Config
from ..records.vocabulary import Artifact, Metric
from ..runtime.progress import aligned, say
from ..tuning.space import Space, with_settings
from ..tuning.trials import GOALS, Goal, State, Trial, show


@dataclass(frozen=True)
class Task:
    """What is searched, checked.

    Attributes:
        config: resolved; trials change it.
        space: that is searched.
        metric: one of GOALS.
        trials: how many there are over all starts.
        budget: seconds after `started` that a trial may start in; None for no limit.
        started: as `time.perf_counter()` says.
    """

    config: Config
    space: Space
    metric: str
    trials: int
    budget: float | None
    started: float = field(default_factory=time.perf_counter)

    @property
    def goal(self) -> Goal:
        """What decides."""
        return GOALS[self.metric]

    @property
    def is_over(self) -> bool:
        """Whether the budget is used up."""
        return self.budget is not None and time.perf_counter() - self.started >= self.budget


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        task: see there.
        trials: all of them.
        finalists: complete trials, the best first, and the configuration as it was given.
        given: the trial of that; None where it is none.
        again: what the finalists reach on folds of another seed, by number; empty where the folds are given.
    """

    task: Task
    trials: Sequence[Trial]
    finalists: Sequence[Trial]
    given: Trial | None
    again: Mapping[int, float]

    @property
    def winner(self) -> Trial:
        """The best by the mean over both kinds of folds: the best of many on the same folds is partly luck."""
        goal = self.task.goal

        def both(trial: Trial) -> float:
            value = (trial.value(goal) + self.again.get(trial.number, trial.value(goal))) / 2
            return value if goal.smaller else -value

        return min(self.finalists, key=both)

    def write(self, folder: Path, run_id: str) -> None:
        """The best configuration, the trials and the pictures."""
        import pandas as pd

        from ..tuning.plots import plot_history, plot_importance
        from ..tuning.study import importances

        task, winner = self.task, self.winner
        header = (
            f"# Stage 1, tuned: trial {winner.number} of {len(self.trials)} of run {run_id}, {task.metric} "
            f"{winner.value(task.goal):.4f} on the folds that it was chosen by.\n"
        )
        text = header + with_settings(task.config, winner.settings).to_yaml()
        (folder / Artifact.BEST_CONFIG).write_text(text, encoding="utf-8")
        rows = []
        for trial in self.trials:
            found: dict[str, object] = {"trial": trial.number, "state": trial.state.value}
            found |= {"loss": trial.value(GOALS["cv/loss"]), "top1": trial.value(GOALS["cv/top1_mean"])}
            found |= {"folds": len(trial.folds), "seconds": round(trial.seconds, 2)}
            rows.append(found | {k: v if isinstance(v, int | float) else show(v) for k, v in trial.settings.items()})
        pd.DataFrame(rows).to_csv(folder / Artifact.TRIALS, index=False)
        shares = importances(task.space, task.goal, task.config.train.seed, self.trials)
        plot_history(folder / Artifact.HISTORY_PLOT, self.trials, task.goal, self._value(self.given))
        plot_importance(folder / Artifact.IMPORTANCE_PLOT, self.trials, task.goal, task.space, shares)

    def metrics(self) -> dict[str, float]:
        """Of the parent run: the winner's, and what became of the others."""
        found: dict[str, float] = {f"cv/{name}": value for name, value in self.winner.figures.items()}
        found |= {Metric.TRIALS: len(self.trials), Metric.TRIALS_PRUNED: self._count(State.PRUNED)}
        found |= {Metric.SECONDS: time.perf_counter() - self.task.started}
        others = {Metric.GIVEN: self._value(self.given)}
        others |= {Metric.AGAIN_BEST: self._again(self.winner), Metric.AGAIN_GIVEN: self._again(self.given)}
        return found | {name: value for name, value in others.items() if value is not None}

    def figures(self) -> dict[str, object]:
        """The headline figures."""
        found: dict[str, object] = {"trials": len(self.trials), "pruned": self._count(State.PRUNED)}
        found |= {"best_trial": self.winner.number, "metric": self.task.metric, "best": self._value(self.winner)}
        found |= {"given": self._value(self.given), "best_again": self._again(self.winner)}
        return found | {"given_again": self._again(self.given)}

    def note(self, command: str) -> str:
        """The description of the run, Markdown.

        Args:
            command: that comes next.
        """
        from ..records.card import markdown_table
        from ..records.notes import compose

        return compose(self.verdict(), [command], markdown_table(*self._table()))

    def name(self, search: str) -> str:
        """Of the run that has ended.

        Args:
            search: its name before.
        """
        from ..records.naming import named, with_result

        return with_result(named(search, f"{len(self.trials)} trials"), self.winner.figures["top1_mean"])

    def say(self) -> None:
        """The finalists, and how far to believe them."""
        say(aligned(*self._table()))
        say(self.verdict())

    def verdict(self) -> str:
        """Which trial it is, and how far its figure can be believed."""
        goal, winner = self.task.goal, self.winner
        if winner is self.given:
            return f"the configuration as it was given is the best: none of {len(self.trials)} trials holds against it"
        text = f"trial {winner.number}: {goal.name} {winner.value(goal):.4f}"
        if self.given is not None:
            text += f", {self.given.value(goal):.4f} as given"
        text += f", on the folds that chose it out of {len(self.trials)}, which flatters"
        if not self.again:
            return f"{text}; rows that no trial saw would tell by how much"
        text += f"; on other folds {self.again[winner.number]:.4f}"
        return text if self.given is None else f"{text}, {self.again[self.given.number]:.4f} as given"

    def _value(self, trial: Trial | None) -> float | None:
        return None if trial is None else trial.value(self.task.goal)

    def _again(self, trial: Trial | None) -> float | None:
        return None if trial is None else self.again.get(trial.number)

    def _count(self, state: State) -> int:
        return sum(trial.state == state for trial in self.trials)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        other = [f"{self.task.goal.name} on other folds"] if self.again else []
        header = ["trial", "loss", "top-1", "calibration error", *other, *self.task.space.axes]
        rows = []
        for trial in self.finalists:
            f = trial.figures
            marks = [", as given"] * (trial is self.given) + [", best"] * (trial is self.winner)
            reached = [f"{f['loss']:.4f}", f"{f['top1_mean']:.4f} ± {f['top1_std']:.4f}"]
            reached += [f"{f['calibration_error']:.4f}", *([f"{self.again[trial.number]:.4f}"] if self.again else [])]
            rows.append([f"{trial.number}{''.join(marks)}", *reached, *map(show, trial.settings.values())])
        return header, rows
