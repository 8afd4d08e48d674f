"""The pictures of a search: how it went, and which settings mattered. Drawn by matplotlib, which MLflow brings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .space import Range, Space
from .trials import Goal, State, Trial, complete_trials, estimates, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BEST, COMPLETE, PRUNED = "#333333", "#c8442c", "#2f6c9f", "#a9b4bf"
# keys whose values are drawn against the results
SLICES = 4


def plot_history(path: Path, trials: Sequence[Trial], goal: Goal, given: float | None) -> None:
    """Each trial's result in the order of the trials, the best so far as a line.

    Args:
        path: of the PNG.
        trials: at least one of them complete.
        goal: what decides.
        given: what the configuration reached as it was given.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    found = estimates(trials, goal)
    view = _View(list(found.values()), goal)
    _scatter(axes, trials, found, goal, view, {trial.number: trial.number for trial in trials})
    done = {trial.number: trial.value(goal) for trial in complete_trials(trials, goal)}
    numbers = sorted(done)
    best = (np.minimum if goal.smaller else np.maximum).accumulate([done[number] for number in numbers])
    axes.step(numbers, view.clip(best), where="post", color=BEST, linewidth=1.5, label="best so far")
    if given is not None:
        axes.axhline(float(view.clip(given)), color=INK, linewidth=1, linestyle=":", label="as given")
    axes.set_xlabel("trial")
    axes.set_ylabel(_label(goal))
    axes.set_title(f"{len(trials)} trials, best {goal.name} {best[-1]:.4f}", loc="left")
    axes.legend(frameon=False, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    _finish(figure, path, axes)


def plot_importance(
    path: Path, trials: Sequence[Trial], goal: Goal, space: Space, importances: Mapping[str, float]
) -> None:
    """The share of each key in the spread of the results, and the values of the first few against the results.

    Args:
        path: of the PNG.
        trials: at least one of them complete.
        goal: what decides.
        space: that was searched.
        importances: shares by key, the largest first; empty where there are too few trials, or one key only.
    """
    from matplotlib.figure import Figure

    keys = list(importances) or list(space.axes)
    shown = keys[:SLICES]
    figure = Figure(figsize=(3.1 * max(len(shown), 3), 2 + 0.3 * len(keys) + 3), layout="constrained")
    bars, below = figure.subfigures(2, 1, height_ratios=(1 + 0.3 * len(keys), 3.5), squeeze=False)[:, 0]
    axes = bars.subplots()
    places = np.arange(len(keys))
    shares = [importances.get(key, 0.0) for key in keys]
    axes.barh(places, shares, color=COMPLETE)
    for place, share in zip(places, shares, strict=True):
        axes.text(share + 0.005, place, f"{share:.0%}" if importances else "not known", va="center", color=INK)
    axes.set_yticks(places, keys)
    axes.invert_yaxis()
    axes.set_xlim(0, max([*shares, 0.1]) * 1.15)
    axes.set_xticks([])
    axes.set_title(f"What the {goal.name} of {len(trials)} trials depended on (share of its spread)", loc="left")
    found = estimates(trials, goal)
    view = _View(list(found.values()), goal)
    panels = below.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, key in zip(panels, shown, strict=True):
        _slice(panel, key, trials, found, goal, space, view)
    panels[0].set_ylabel(_label(goal))
    panels[0].legend(frameon=False, fontsize=8)
    _finish(figure, path, axes, *panels)


class _View:
    """The results that are worth a look, from the best to beyond the median; others lie hollow on the edge."""

    def __init__(self, values: Sequence[float], goal: Goal) -> None:
        best = min(values) if goal.smaller else max(values)
        reach = 2.2 * abs(float(np.median(values)) - best) or 0.01
        self.low, self.high = (best, best + reach) if goal.smaller else (best - reach, best)

    def clip(self, values: Any) -> Any:
        """The values, those outside moved to the edge."""
        return np.clip(values, self.low, self.high)

    def limits(self) -> tuple[float, float]:
        """Of the axis, with a margin."""
        margin = 0.06 * (self.high - self.low)
        return self.low - margin, self.high + margin


def _scatter(
    axes: "Axes",
    trials: Sequence[Trial],
    found: Mapping[int, float],
    goal: Goal,
    view: _View,
    positions: Mapping[int, float],
) -> None:
    best = complete_trials(trials, goal)[0].number
    kinds = {
        "pruned (estimate)": ([t.number for t in trials if t.state == State.PRUNED], PRUNED, "x", 26),
        "complete": ([t.number for t in trials if t.state == State.COMPLETE and t.number != best], COMPLETE, "o", 26),
        "best": ([best], BEST, "*", 150),
    }
    for label, (numbers, colour, marker, size) in kinds.items():
        kept = [number for number in numbers if number in found]
        y = [found[number] for number in kept]
        colours = [colour if value == view.clip(value) or marker == "x" else "none" for value in y]
        if kept:
            x, edges = [positions[number] for number in kept], None if marker == "x" else colour
            axes.scatter(x, view.clip(y), s=size, c=colours, edgecolors=edges, marker=marker, label=label, zorder=3)
    axes.set_ylim(*view.limits())


def _slice(
    axes: "Axes",
    key: str,
    trials: Sequence[Trial],
    found: Mapping[int, float],
    goal: Goal,
    space: Space,
    view: _View,
) -> None:
    axis = space.axes[key]
    if isinstance(axis, Range):
        positions = {trial.number: float(trial.settings[key]) for trial in trials}
        margin = 0.04 * (axis.high - axis.low)
        axes.set_xlim(axis.low - margin, axis.high + margin)
        if axis.log:
            axes.set_xscale("log")
            axes.set_xlim(axis.low / 1.15, axis.high * 1.15)
            ticks = np.geomspace(axis.low, axis.high, 4)
            ticks = np.unique(ticks.round()) if axis.whole else ticks
            axes.set_xticks(ticks, [f"{tick:.0f}" if axis.whole else f"{tick:.1g}" for tick in ticks])
            axes.set_xticks([], minor=True)
    else:
        # side by side, a little apart where several trials have the same value
        rng = np.random.default_rng(0)
        positions = {t.number: axis.values.index(t.settings[key]) + rng.uniform(-0.15, 0.15) for t in trials}
        names = [show(value) for value in axis.values]
        long = max(map(len, names)) > 6
        axes.set_xticks(
            range(len(names)),
            names,
            rotation=30 if long else 0,
            ha="right" if long else "center",
            fontsize=7 if long else 9,
        )
    _scatter(axes, trials, found, goal, view, positions)
    axes.set_xlabel(key)


def _label(goal: Goal) -> str:
    return f"out-of-fold {goal.name} ({'less' if goal.smaller else 'more'} is better)"


def _finish(figure: "Figure", path: Path, *panels: "Axes") -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
    figure.savefig(path, dpi=120)
