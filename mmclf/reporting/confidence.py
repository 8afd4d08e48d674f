"""What confidence is worth: reliability before and after scaling, and precision against coverage."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.reliability import Reliability, precision_by_coverage, reliability, scaled_out_of_fold
from ..evaluation.thresholds import Threshold, find_thresholds, hold_out
from .drawing import ACCENT, DARK, INK, LIGHT, MUTED, Plot, in_percent
from .evidence import Evidence
from .new_data import NewData
from .section import Cell, Column, Section, Table, percent, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# points that a curve is drawn with
MOST_POINTS = 400
# rows from which on a share of right ones is drawn
LEAST_SHOWN = 20


def confidence(evidence: Evidence) -> Section:
    """Reliability, and what is left when only the surest products are labelled."""
    before = reliability(evidence.table.probabilities, evidence.targets)
    scaled = scaled_out_of_fold(evidence.table)
    after = None if scaled is None else reliability(scaled, evidence.targets)
    found = find_thresholds(evidence.table) if evidence.new is None else _as_here(evidence.new)
    plots = {plot.name: plot for plot in (_reliability_plot(before, after), _coverage_plot(evidence, found))}
    table = _thresholds_table(evidence, found) if evidence.new is None else _reached_table(evidence.new)
    html = render(
        "confidence.html.j2",
        before=before,
        after=after,
        plots=list(plots.values()),
        table=table,
        is_out_of_fold=evidence.new is None,
    )
    tables = {"thresholds": table, "reliability": _bins_table(before, after)}
    summary = ""
    if found:
        sure = found[-1]
        said = f"{percent(sure.coverage, 0)} of the products can be labelled without a person at a wanted precision of "
        summary = f"{said}{percent(sure.precision, 0)}, from a confidence of {sure.confidence:.2f} on."
    return Section("confidence", "When to believe it", html, summary, plots, tables)


def _thresholds_table(evidence: Evidence, found: Sequence[Threshold]) -> Table:
    """The confidence that a precision asks for, and what it was worth on rows that it wasn't chosen on."""
    names = ["wanted precision", "confidence from", "products labelled", "precision held out", "from", "to"]
    kinds = ["share", "number", "share", "share", "share", "share"]
    columns = [Column(name, kind) for name, kind in zip(names, kinds, strict=True)]
    rows: list[tuple[Cell, ...]] = []
    several = not evidence.figures.is_single
    for threshold in found:
        held = hold_out(evidence.table, threshold.precision) if several else None
        reached = (held.precision, held.low, held.high) if held else (None, None, None)
        rows.append((threshold.precision, threshold.confidence, threshold.coverage, *reached))
    return Table("Labelling without a person: the confidence that a wanted precision asks for", columns, rows)


def _reached_table(new: NewData) -> Table:
    """What the model's thresholds are worth on new rows."""
    names = ["wanted precision", "confidence from", "labelled out of fold", "labelled here", "precision here", "from"]
    kinds = ["share", "number", "share", "share", "share", "share"]
    columns = [*(Column(name, kind) for name, kind in zip(names, kinds, strict=True)), Column("to", "share")]
    rows = [
        (each.precision, each.confidence, each.coverage, held.coverage, held.precision, held.low, held.high)
        for each, held in new.thresholds
    ]
    return Table("Labelling without a person: what the model's thresholds reach here", columns, rows)


def _as_here(new: NewData) -> list[Threshold]:
    """The model's thresholds, with the share of the new rows that each labels."""
    return [replace(threshold, coverage=held.coverage) for threshold, held in new.thresholds]


def _bins_table(before: Reliability, after: Reliability | None) -> Table:
    columns = [Column("what"), Column("confidence", "number"), Column("accuracy", "number")]
    columns += [Column("from", "number"), Column("to", "number"), Column("products", "count")]
    rows = [
        (what, each.confidence, each.accuracy.value, each.accuracy.low, each.accuracy.high, each.rows)
        for what, found in (("as it is", before), ("scaled", after))
        if found is not None
        for each in found.bins
    ]
    return Table("Confidence and accuracy in bins of as many products each", columns, rows)


def _reliability_plot(before: Reliability, after: Reliability | None) -> Plot:
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="as it should be")
        for found, colour, mark, line, label in (
            (after, LIGHT, "s", "--", "scaled"),
            (before, DARK, "o", "-", "as it is"),
        ):
            if found is None:
                continue
            x, y = [b.confidence for b in found.bins], [b.accuracy.value for b in found.bins]
            low = [b.accuracy.value - b.accuracy.low for b in found.bins]
            high = [b.accuracy.high - b.accuracy.value for b in found.bins]
            axes.errorbar(
                x, y, yerr=[low, high], elinewidth=1, color=colour, marker=mark, ms=5, ls=line, lw=1.2, label=label
            )
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("mean confidence")
        axes.set_ylabel("share of right answers")
        axes.legend(loc="upper left")
        in_percent(axes, "x", "y")

    said = f"The calibration error is {before.error:.3f} as it is"
    said += "." if after is None else f" and {after.error:.3f} once it is scaled by a temperature and a curve."
    caption = (
        "Points on the dotted line: of products with a confidence of 80 %, 80 % are right. Below the line the model is "
        "too sure, above it too unsure. Bars: 95 % intervals."
    )
    return Plot("reliability", caption, said, (4.6, 4.2), draw)


def _coverage_plot(evidence: Evidence, found: Sequence[Threshold]) -> Plot:
    coverage, precision = precision_by_coverage(evidence.table.probabilities, evidence.targets)
    # the first few rows say next to nothing
    first = min(int(np.searchsorted(coverage, LEAST_SHOWN / len(evidence))), len(coverage) - 1)
    step = max(1, len(coverage) // MOST_POINTS)
    kept = [*range(first, len(coverage) - 1, step), len(coverage) - 1]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot(coverage[kept], precision[kept], color=DARK)
        for number, threshold in enumerate(found):
            place = (threshold.coverage, float(np.interp(threshold.coverage, coverage, precision)))
            axes.plot(*place, color=ACCENT, marker="osD^"[number % 4], ms=7, ls="none", zorder=5)
            text = f"{100 * threshold.precision:g} %: from {threshold.confidence:.2f}"
            left = threshold.coverage > 0.4
            offset, side = ((-6, -14), "right") if left else ((8, 4), "left")
            axes.annotate(text, place, offset, textcoords="offset points", ha=side, color=INK, fontsize=9)
        low = float(precision[kept].min())
        axes.set_ylim(max(0, min(low, precision[-1]) - 0.03), 1.01)
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("products that are labelled, the surest first")
        axes.set_ylabel("share of right ones among them")
        in_percent(axes, "x", "y")

    said = "; ".join(f"{percent(t.coverage, 0)} at a precision of {percent(t.precision, 0)}" for t in found)
    caption = "How many products can be labelled without a person, and how many of those labels are right."
    alt = f"Of the products can be labelled: {said}." if found else "No confidence is enough for a precision of 90 %."
    return Plot("coverage", caption, alt, (4.9, 4.2), draw)
