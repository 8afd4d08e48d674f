"""What a search found: its files, its figures, and what is said of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config import Config
from ..records.vocabulary import Artifact, Metric
from ..runtime.progress import aligned, say
from ..tuning.space import Settings, Space, with_settings
from ..tuning.trials import GOALS, Goal, State, Trial, show

# trials in the table at the end
SHOWN = 5


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
        best: those that are complete, the best first.
        first: settings of the configuration as it is given; None where it is no trial.
        again: on other folds.
    """

    task: Task
    trials: Sequence[Trial]
    best: Sequence[Trial]
    first: Settings | None
    again: Mapping[str, float]

    @property
    def given(self) -> float | None:
        """What the configuration reached as it is given."""
        trial = self.trials[0]
        is_given = self.first is not None and trial.settings == self.first and trial.state == State.COMPLETE
        return trial.value(self.task.goal) if is_given else None

    def write(self, folder: Path, run_id: str) -> None:
        """The best configuration, the trials and the pictures."""
        import pandas as pd

        from ..tuning.plots import plot_history, plot_importance
        from ..tuning.study import importances

        task, best = self.task, self.best[0]
        header = (
            f"# Stage 1, tuned: trial {best.number} of {len(self.trials)} of run {run_id}, {task.metric} "
            f"{best.value(task.goal):.4f} on the folds that it was chosen by.\n"
        )
        text = header + with_settings(task.config, best.settings).to_yaml()
        (folder / Artifact.BEST_CONFIG).write_text(text, encoding="utf-8")
        rows = []
        for trial in self.trials:
            found: dict[str, object] = {"trial": trial.number, "state": trial.state.value}
            found |= {"loss": trial.value(GOALS["cv/loss"]), "top1": trial.value(GOALS["cv/top1_mean"])}
            found |= {"folds": len(trial.folds), "seconds": round(trial.seconds, 2)}
            rows.append(found | {k: v if isinstance(v, int | float) else show(v) for k, v in trial.settings.items()})
        pd.DataFrame(rows).to_csv(folder / Artifact.TRIALS, index=False)
        shares = importances(task.space, task.goal, task.config.train.seed, self.trials)
        plot_history(folder / Artifact.HISTORY_PLOT, self.trials, task.goal, self.given)
        plot_importance(folder / Artifact.IMPORTANCE_PLOT, self.trials, task.goal, task.space, shares)

    def metrics(self) -> dict[str, float]:
        """Of the parent run: the best trial's, and what became of the others."""
        found: dict[str, float] = {f"cv/{name}": value for name, value in self.best[0].figures.items()}
        found |= {Metric.TRIALS: len(self.trials), Metric.TRIALS_PRUNED: self._count(State.PRUNED)}
        found |= {Metric.SECONDS: time.perf_counter() - self.task.started, **self.again}
        return found | ({Metric.GIVEN: self.given} if self.given is not None else {})

    def figures(self) -> dict[str, object]:
        """The headline figures."""
        best = self.best[0]
        found: dict[str, object] = {"trials": len(self.trials), "pruned": self._count(State.PRUNED)}
        found |= {"best_trial": best.number, "metric": self.task.metric, "best": best.value(self.task.goal)}
        found |= {"given": self.given, "best_again": self.again.get(Metric.AGAIN_BEST)}
        return found | {"given_again": self.again.get(Metric.AGAIN_GIVEN)}

    def note(self) -> str:
        """The description of the run, Markdown."""
        from ..records.card import markdown_table

        return "\n".join([*markdown_table(*self._table()), "", self._caution()])

    def say(self, command: str) -> None:
        """The best trials, how far to believe them, and what comes next."""
        say(aligned(*self._table()))
        say(self._caution())
        say(f"next: {command}")

    def _count(self, state: State) -> int:
        return sum(trial.state == state for trial in self.trials)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = ["trial", "loss", "top-1", "calibration error", *self.task.space.axes]
        shown = list(self.best[:SHOWN])
        if self.given is not None and self.trials[0] not in shown:
            shown.append(self.trials[0])
        rows = []
        for trial in shown:
            f = trial.figures
            name = f"{trial.number}{', as given' if trial is self.trials[0] and self.given is not None else ''}"
            reached = [
                f"{f['loss']:.4f}",
                f"{f['top1_mean']:.4f} ± {f['top1_std']:.4f}",
                f"{f['calibration_error']:.4f}",
            ]
            rows.append([name, *reached, *map(show, trial.settings.values())])
        return header, rows

    def _caution(self) -> str:
        """The best of many is partly luck."""
        goal, best = self.task.goal, self.best[0].value(self.task.goal)
        if self.best[0] is self.trials[0] and self.given is not None:
            return f"none of {len(self.trials)} trials is better than the configuration as it was given"
        text = f"{goal.name} {best:.4f} is the best of {len(self.trials)} on the folds that chose it, so it flatters"
        if Metric.AGAIN_BEST not in self.again:
            return f"{text}; rows that no trial saw would tell by how much"
        text += f"; on folds of another seed it is {self.again[Metric.AGAIN_BEST]:.4f}"
        if Metric.AGAIN_GIVEN in self.again:
            text += f", and {self.again[Metric.AGAIN_GIVEN]:.4f} as given"
        return text
