"""Rows that came after the training: beside what was expected of them, and how they differ from those trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.drift import Drift
from ..evaluation.intervals import Interval, difference
from ..evaluation.thresholds import Held, Threshold
from .drawing import ACCENT, DARK, MUTED, Plot, in_percent, shorten_label
from .section import Cell, Column, Section, Table, listed, percent, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .evidence import Evidence

FIGURES = {
    "top1": "top-1",
    "top3": "top-3",
    "macro_f1": "macro-F1",
    "calibration_error": "calibration error",
    "loss": "loss",
}
# classes that the plot shows: those whose share has changed most; names of unknown labels in a sentence
MOST_CLASSES, MOST_NAMED = 12, 5


@dataclass(frozen=True)
class NewData:
    """What is known of new rows besides the rows themselves.

    Attributes:
        rows: with a label that the model knows; a page shows some of them where there are many.
        figures: of them, by the names in evaluation/intervals.py.
        expected: the same of the rows that the model held out when it was trained; none where they aren't at hand.
        at_mix: top-1 of those, were their classes as frequent as here; None where it can't be told.
        by_confidence: mean of the confidence, calibrated on those: the top-1 that the model itself expects; or None.
        unknown: rows of each label that the model doesn't know, the most frequent first; they count in no figure.
        unlabelled: rows without a label, which count in none either.
        seen: rows whose ids the training had too.
        thresholds: the model's, and what they reach here.
        drift: what has changed.
        shares: of each class, the share of the rows then and now; none where it isn't known.
    """

    rows: int
    figures: Mapping[str, Interval]
    expected: Mapping[str, Interval] = field(default_factory=dict)
    at_mix: float | None = None
    by_confidence: float | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    seen: int = 0
    thresholds: Sequence[tuple[Threshold, Held]] = ()
    drift: Sequence[Drift] = ()
    shares: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def gap(self, name: str) -> Interval | None:
        """A figure less what was expected; None where that isn't known."""
        return difference(self.figures[name], self.expected[name]) if name in self.expected else None

    @property
    def sentence(self) -> str:
        """All that one should know, in sentences."""
        top1 = f"Of {self.rows:,} labelled rows {_with_interval(self.figures['top1'])} are right."
        return " ".join(filter(None, [self.verdict or top1, self.left_out, self.warning]))

    @property
    def verdict(self) -> str:
        """Whether top-1 is what was expected, as a sentence; "" where that isn't known."""
        gap = self.gap("top1")
        if gap is None:
            return ""
        here, there = self.figures["top1"], self.expected["top1"]
        said = f"Top-1 is {_with_interval(here)} here and was {_with_interval(there)} out of fold: "
        points = f"{100 * abs(gap.value):.1f} points {'less' if gap.value < 0 else 'more'}"
        if gap.low <= 0 <= gap.high:
            return f"{said}{points}, which the intervals leave to chance."
        return f"{said}{points}, more than the intervals leave to chance."

    @property
    def left_out(self) -> str:
        """Which rows count in no figure, as a sentence; "" for none."""
        said = []
        if self.unknown:
            names = [f"{name!r} ({rows:,})" for name, rows in [*self.unknown.items()][:MOST_NAMED]]
            more = f" and {len(self.unknown) - MOST_NAMED:,} more" if len(self.unknown) > MOST_NAMED else ""
            rows = sum(self.unknown.values())
            said.append(f"{_rows(rows)} with labels that the model doesn't know: {', '.join(names)}{more}")
        if self.unlabelled:
            said.append(f"{_rows(self.unlabelled)} without a label")
        return f"No figure counts {listed(said)}." if said else ""

    @property
    def warning(self) -> str:
        """That the model may have been trained on some of the rows, as a sentence; "" where it wasn't."""
        if not self.seen:
            return ""
        have = "has the id of a row" if self.seen == 1 else "have ids of rows"
        return (
            f"{_rows(self.seen)} {have} that the model was trained on: if they are the same products, these figures "
            "are too good."
        )

    @property
    def changes(self) -> list[str]:
        """What has changed more than by chance, in words."""
        return [each.what for each in self.drift if each.is_more_than_chance]


def expected(evidence: "Evidence") -> Section:
    """The figures beside those out of fold."""
    new = _of(evidence)
    table, unknown = _figures(new), _unknown(new)
    html = render(
        "expected.html.j2",
        new=new,
        table=table,
        unknown=unknown.first(20),
        shown=len(evidence),
        top1=percent(new.figures["top1"].value),
        at_mix=None if new.at_mix is None else percent(new.at_mix),
        by_confidence=None if new.by_confidence is None else percent(new.by_confidence),
    )
    tables = {"expected": table} | ({"unknown-labels": unknown} if new.unknown else {})
    summary = " ".join(filter(None, [new.verdict, new.left_out, new.warning]))
    return Section("expected", "Beside what was expected", html, summary, tables=tables)


def drifted(evidence: "Evidence") -> Section:
    """What has changed since the training."""
    new = _of(evidence)
    table, shares = _drift(new), _shares(new)
    plots = {"class-shares": _plot(new)} if new.shares else {}
    html = render("drift.html.j2", new=new, table=table, plot=plots.get("class-shares"), most=MOST_CLASSES)
    summary = ""
    if new.drift:
        summary = (
            f"Changed since the training, more than by chance: {listed(new.changes)}."
            if new.changes
            else "Nothing that was looked at has changed since the training, beyond chance."
        )
    tables = {"drift": table} | ({"class-shares": shares} if new.shares else {})
    return Section("drift", "What has changed since the training", html, summary, plots, tables)


def _of(evidence: "Evidence") -> NewData:
    assert evidence.new is not None  # noqa: S101 - these sections are of new rows alone
    return evidence.new


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _with_interval(found: Interval) -> str:
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def _figures(new: NewData) -> Table:
    names = ["figure", "here", "from", "to"]
    if new.expected:
        names += ["out of fold", "its from", "its to", "difference", "at least", "at most"]
    columns = [Column(names[0]), *(Column(name, "number") for name in names[1:])]
    rows: list[list[Cell]] = []
    for key, name in FIGURES.items():
        parts = [new.figures[key]]
        gap = new.gap(key)
        if gap is not None:
            parts += [new.expected[key], gap]
        rows.append([name, *(value for part in parts for value in (part.value, part.low, part.high))])
        if gap is not None:
            rows[-1].append("as expected" if gap.low <= 0 <= gap.high else "higher" if gap.value > 0 else "lower")
    columns += [Column("verdict")] * bool(new.expected)
    return Table("Each figure here, with its 95 % interval, beside that of the held-out rows", columns, rows)


def _unknown(new: NewData) -> Table:
    rows = [(name, count) for name, count in new.unknown.items()]
    return Table("Labels that the model doesn't know", [Column("label"), Column("rows", "count")], rows)


def _drift(new: NewData) -> Table:
    names = ["training", "here", "apart", "by chance up to"]
    columns = [Column("what"), *(Column(name, "number") for name in names), Column("verdict")]
    rows = [
        (d.what, d.before, d.now, d.apart, d.chance, "changed" if d.is_more_than_chance else "as before")
        for d in new.drift
    ]
    return Table("What is known of the rows, then and now", columns, rows)


def _shares(new: NewData) -> Table:
    columns = [Column("class"), Column("training", "share"), Column("here", "share")]
    rows = [(name, *shares) for name, shares in _most_changed(new)]
    return Table("Share of the rows of each class, those that changed most first", columns, rows)


def _most_changed(new: NewData) -> list[tuple[str, tuple[float, float]]]:
    return sorted(new.shares.items(), key=lambda each: (-abs(each[1][1] - each[1][0]), each[0]))


def _plot(new: NewData) -> Plot:
    found = _most_changed(new)[:MOST_CLASSES]
    places = np.arange(len(found))

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        then, now = ([shares[n] for _, shares in found] for n in (0, 1))
        axes.hlines(places, np.minimum(then, now), np.maximum(then, now), color=MUTED, linewidth=1.5)
        axes.plot(then, places, color=DARK, marker="o", ms=7, ls="none", label="training", clip_on=False)
        axes.plot(now, places, color=ACCENT, marker="D", ms=6, ls="none", label="here", clip_on=False)
        axes.set_yticks(places, [shorten_label(name) for name, _ in found])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("share of the rows")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
        in_percent(axes, "x")

    said = ", ".join(f"{name} from {percent(then)} to {percent(now)}" for name, (then, now) in found[:3])
    caption = "The classes whose share of the rows has changed most; a difference of a few rows may be chance."
    size = (7.0, max(2.0, 1.1 + 0.3 * len(found)))
    return Plot("class-shares", caption, f"Changed most: {said}.", size, draw)
