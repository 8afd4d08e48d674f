"""What each class reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.confusion import confused_pairs
from ..evaluation.intervals import Interval, wilson
from ..evaluation.metrics import per_class
from .drawing import ACCENT, DARK, Plot, in_percent, shorten_label
from .evidence import Evidence
from .section import Column, Section, Table, percent, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# classes of the page's table, those with the most mistakes; the CSV has all
MOST_CLASSES = 500
# classes that the plot names
NAMED = 5
# numbers of products that the plot may mark
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
COLUMNS = (
    Column("class"),
    Column("products", "count"),
    Column("precision", "share"),
    Column("recall", "share"),
    Column("recall from", "share"),
    Column("to", "share"),
    Column("F1", "number"),
    Column("mistakes", "count"),
    Column("most often taken for"),
)


@dataclass(frozen=True)
class ClassFigures:
    """Of a class.

    Attributes:
        name: of the class.
        rows: how many there are.
        precision: None where no row is taken for it.
        recall: nan without rows.
        f1: None where it neither has rows nor is named.
        missed: rows that are taken for another class.
        taken_for: the class that they are taken for most often.
    """

    name: str
    rows: int
    precision: float | None
    recall: Interval
    f1: float | None
    missed: int
    taken_for: str | None


def classes(evidence: Evidence) -> Section:
    """Products, precision, recall and F1 of each class, and F1 against size."""
    found = figures_by_class(evidence)
    table = Table("Precision, recall and F1 of each class; a heading sorts", COLUMNS, [_line(each) for each in found])
    plot = _plot([each for each in found if each.rows])
    html = render(
        "classes.html.j2", table=table.first(MOST_CLASSES), plot=plot, all_classes=len(found), most=MOST_CLASSES
    )
    return Section("classes", "Class by class", html, plots={plot.name: plot}, tables={"classes": table})


def figures_by_class(evidence: Evidence) -> list[ClassFigures]:
    """Those with the most mistakes first."""
    names = evidence.table.classes
    found = per_class(evidence.table.probabilities, evidence.targets)
    taken = {pair.given: pair.taken_for for pair in reversed(confused_pairs(evidence.table))}
    missed = np.bincount(evidence.targets[~evidence.hits], minlength=len(names))
    named = np.bincount(evidence.predictions, minlength=len(names))
    figures = []
    for c, name in enumerate(names):
        rows = int(found["rows"][c])
        precision = float(found["precision"][c]) if named[c] else None
        f1 = float(found["f1"][c]) if rows or named[c] else None
        recall = wilson(float(rows - missed[c]), rows)
        figures.append(ClassFigures(name, rows, precision, recall, f1, int(missed[c]), taken.get(name)))
    return sorted(figures, key=lambda each: (-each.missed, each.name))


def _line(each: ClassFigures) -> tuple[str | int | float | None, ...]:
    recall = each.recall
    shares = (each.precision, recall.value, recall.low, recall.high, each.f1)
    return (each.name, each.rows, *shares, each.missed, each.taken_for)


def _plot(found: Sequence[ClassFigures]) -> Plot:
    points = [(float(each.rows), each.f1 or 0.0) for each in found]
    worst = sorted(range(len(found)), key=lambda i: points[i][1])[:NAMED]
    low, high = min(each.rows for each in found), max(each.rows for each in found)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.scatter([x for x, _ in points], [y for _, y in points], s=28, color=DARK, alpha=0.7, linewidths=0)
        height = 1.18 - points[worst[0]][1]
        apart, last = height / 15, -1.0
        for i in worst:  # one above the other, inside the plot
            rows, f1 = points[i]
            last = max(f1, last + apart)
            left = rows**2 > low * high
            axes.annotate(
                shorten_label(found[i].name),
                points[i],
                (-8 if left else 8, 190 / height * (last - f1) - 3),
                textcoords="offset points",
                ha="right" if left else "left",
                color=ACCENT,
                fontsize=9,
            )
        axes.set_xscale("log")
        axes.set_xlabel("products of the class")
        axes.set_ylabel("F1")
        axes.set_ylim(max(-0.03, points[worst[0]][1] - 0.12), 1.06)
        axes.margins(x=0.08)
        ticks = sorted({low, high, *(rows for rows in TICKS if rows > 1.3 * low and 1.3 * rows < high)})
        axes.set_xticks(ticks, [f"{rows:,}" for rows in ticks])
        axes.set_xticks([], minor=True)
        in_percent(axes, "y")

    said = ", ".join(f"{found[i].name} {percent(found[i].f1, 0)}" for i in worst)
    caption = "A class low at the right has products enough and is hard; one low at the left may lack products."
    return Plot("classes", caption, f"F1 of {len(found)} classes by their size; the lowest: {said}.", (6.6, 3.4), draw)
