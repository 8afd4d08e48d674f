"""Runs on the same rows, side by side: differences, classes, rows mended and broken, what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..data.rows import Rows
from ..evaluation.intervals import RESAMPLES, Interval, bootstrap_scores
from ..evaluation.paired import LESS_IS_BETTER, ClassChange, Pair, class_changes, pair
from ..evaluation.probabilities import ProbabilityTable
from ..evaluation.row_scores import RowScores
from .drawing import ACCENT, DARK, MUTED, Plot, in_percent, shorten_label
from .evidence import Evidence
from .gallery import Card, card
from .new_data import FIGURES
from .report import Report, put_together
from .section import Cell, Column, Section, Table, listed, percent, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# cards of a gallery; classes of the page's table and of the plot
SHOWN, MOST_CLASSES, DRAWN_CLASSES = 18, 200, 15
VERDICTS = {"better": "better", "worse": "worse", "open": "no difference shown"}


@dataclass(frozen=True)
class Spent:
    """What a run cost; a fusion with its members.

    Attributes:
        seconds: that it took.
        encoding: seconds of these in which features were computed.
        computed, reused: views and texts that were encoded, and whose features were in the cache.
        memory: MiB that a process held at most; None where it isn't known.
    """

    seconds: float
    encoding: float
    computed: int
    reused: int
    memory: float | None

    def __add__(self, other: "Spent") -> "Spent":
        """One run after the other."""
        memory = max((each.memory for each in (self, other) if each.memory is not None), default=None)
        return Spent(
            self.seconds + other.seconds,
            self.encoding + other.encoding,
            self.computed + other.computed,
            self.reused + other.reused,
            memory,
        )


@dataclass(frozen=True)
class Contender:
    """A run that is compared.

    Attributes:
        letter: that it is called by.
        name: for people.
        run_id: of it.
        probabilities: float32 (rows, classes), out of fold; 0 for classes that it doesn't know.
        spent: what it cost.
    """

    letter: str
    name: str
    run_id: str
    probabilities: np.ndarray
    spent: Spent


@dataclass(frozen=True)
class Comparison:
    """Two runs or more on the same rows; each is compared with the first.

    Attributes:
        contenders: in the order that they were named in.
        table: ids, classes, folds and labels of the rows; its probabilities are the first's.
        rows: texts and pictures, in the order of the table; None where the catalogue isn't at hand.
        groups: of the rows; None where each stands alone.
    """

    contenders: Sequence[Contender]
    table: ProbabilityTable
    rows: Rows | None = None
    groups: Sequence[str] | None = None

    @property
    def first(self) -> Contender:
        """The one that the others are compared with."""
        return self.contenders[0]

    @property
    def others(self) -> Sequence[Contender]:
        """All but the first."""
        return self.contenders[1:]

    @cached_property
    def scores(self) -> dict[str, RowScores]:
        """Of each, by its letter."""
        targets = self.table.targets()
        return {each.letter: RowScores.of(each.probabilities, targets) for each in self.contenders}

    @cached_property
    def figures(self) -> dict[str, dict[str, Interval]]:
        """Of each alone, by its letter."""
        return {letter: bootstrap_scores(scores, self.groups) for letter, scores in self.scores.items()}

    @cached_property
    def pairs(self) -> dict[str, Pair]:
        """Each of the others beside the first, by its letter."""
        first = self.scores[self.first.letter]
        return {each.letter: pair(first, self.scores[each.letter], self.groups) for each in self.others}

    def verdict(self, other: Contender) -> str:
        """Whether it is better than the first, as a sentence."""
        found = self.pairs[other.letter]
        top1 = found.differences["top1"]
        between = f"{_points(top1.value)} points ({_points(top1.low)} to {_points(top1.high)})"
        rows = f"it mends {found.mended.sum():,} rows and breaks {found.broken.sum():,}"
        said = {
            "better": f"{other.letter} is better than {self.first.letter}",
            "worse": f"{other.letter} is worse than {self.first.letter}",
            "open": f"That {other.letter} differs from {self.first.letter} isn't shown",
        }[found.verdict()]
        return f"{said}: top-1 {between}; {rows}."


def make_comparison(comparison: Comparison, facts: Sequence[tuple[str, str]]) -> Report:
    """The page of a comparison.

    Args:
        comparison: of two runs or more.
        facts: name and value of what it is about.
    """
    title = f"{listed(f'{each.letter}: {each.name}' for each in comparison.contenders)} compared"
    named = [(each.letter, f"{each.name}, run {each.run_id[:12]}") for each in comparison.contenders]
    sections = [_differences(comparison)]
    for other in comparison.others:
        sections += [_rows(comparison, other), _classes(comparison, other)]
    return put_together(title, [*named, *facts], [*sections, _cost(comparison)])


def _differences(comparison: Comparison) -> Section:
    figures, differences = _figures_table(comparison), _differences_table(comparison)
    products, agreement = _products_table(comparison), _agreement_table(comparison)
    plot = _plot(comparison)
    verdicts = [comparison.verdict(other) for other in comparison.others]
    html = render(
        "differences.html.j2",
        verdicts=verdicts,
        figures=figures,
        differences=differences,
        agreement=agreement,
        plot=plot,
        first=comparison.first.letter,
        rows=len(comparison.table),
        groups=None if comparison.groups is None else len(set(comparison.groups)),
        resamples=RESAMPLES,
    )
    tables = {"figures": figures, "differences": differences, "agreement": agreement, "products": products}
    return Section("differences", "Which is better", html, " ".join(verdicts), {plot.name: plot}, tables)


def _rows(comparison: Comparison, other: Contender) -> Section:
    """The rows that another run mends and breaks."""
    found = comparison.pairs[other.letter]
    kinds = [("mended", found.mended), ("broken", found.broken)]
    html = render(
        "changed_rows.html.j2",
        first=comparison.first.letter,
        other=other.letter,
        galleries=[(kind, int(rows.sum()), _cards(comparison, other, rows)) for kind, rows in kinds],
        has_rows=comparison.rows is not None,
        products="products.csv",
    )
    title = f"Rows that {other.letter} mends and breaks"
    return Section(f"rows-{other.letter}", title, html)


def _classes(comparison: Comparison, other: Contender) -> Section:
    first = comparison.scores[comparison.first.letter]
    found = class_changes(first, comparison.scores[other.letter], comparison.groups)
    table = _classes_table(comparison, other, found)
    name = f"classes-{other.letter}"
    changed = [each for each in found if each.mended or each.broken][:DRAWN_CLASSES]
    plots = {name: _classes_plot(comparison, other, changed)} if changed else {}
    html = render(
        "changed_classes.html.j2",
        table=table.first(MOST_CLASSES),
        plot=plots.get(name),
        all_classes=len(found),
        shown=MOST_CLASSES,
        file=f"{name}.csv",
    )
    shown = [each for each in found if each.change.low > 0 or each.change.high < 0]
    summary = ""
    if shown:
        names = [
            f"{comparison.table.classes[each.number]} ({_points(each.change.value, 0)} points)" for each in shown[:3]
        ]
        summary = f"Classes that {other.letter} changes most, each beyond its own interval: {', '.join(names)}."
    return Section(name, f"Class by class: {other.letter}", html, summary, plots, {name: table})


def _cost(comparison: Comparison) -> Section:
    columns = [Column("run"), Column("name"), Column("seconds", "number"), Column("of these encoding", "number")]
    columns += [Column("encoded", "count"), Column("found in the cache", "count"), Column("memory, MiB", "count")]
    rows: list[tuple[Cell, ...]] = []
    for each in comparison.contenders:
        cost = each.spent
        rows.append((each.letter, each.name, cost.seconds, cost.encoding, cost.computed, cost.reused, cost.memory))
    table = Table("What each run took, as it recorded it", columns, rows)
    html = render("cost.html.j2", table=table)
    summary = f"{', '.join(f'{each.letter} took {each.spent.seconds:,.0f} s' for each in comparison.contenders)}."
    return Section("cost", "What they cost", html, summary, tables={"cost": table})


def _points(share: float, digits: int = 1) -> str:
    """A difference of shares for people."""
    return f"{100 * share:+.{digits}f}".replace("-", "−")


def _figures_table(comparison: Comparison) -> Table:
    columns = [Column("figure"), Column("run"), Column("name")]
    columns += [Column(name, "number") for name in ("value", "from", "to")]
    rows: list[tuple[Cell, ...]] = []
    for key, name in FIGURES.items():
        for each in comparison.contenders:
            found = comparison.figures[each.letter][key]
            rows.append((name, each.letter, each.name, found.value, found.low, found.high))
    return Table("Each run alone, with 95 % intervals", columns, rows)


def _differences_table(comparison: Comparison) -> Table:
    columns = [Column("run"), Column("figure"), Column("difference", "number"), Column("from", "number")]
    columns += [Column("to", "number"), Column("verdict")]
    rows: list[list[Cell]] = []
    for other in comparison.others:
        found = comparison.pairs[other.letter]
        for key, name in FIGURES.items():
            each = found.differences[key]
            less = " (less is better)" if key in LESS_IS_BETTER else ""
            cells: list[Cell] = [other.letter, f"{name}{less}", each.value, each.low, each.high]
            rows.append([*cells, VERDICTS[found.verdict(key)]])
    return Table(f"Each run less {comparison.first.letter}, on the same rows, with 95 % intervals", columns, rows)


def _agreement_table(comparison: Comparison) -> Table:
    first = comparison.first
    columns = [Column("run"), Column("both right", "count"), Column("mended", "count"), Column("broken", "count")]
    columns += [Column("both wrong alike", "count"), Column("both wrong, otherwise", "count")]
    one = comparison.scores[first.letter]
    rows: list[tuple[Cell, ...]] = []
    for other in comparison.others:
        two, found = comparison.scores[other.letter], comparison.pairs[other.letter]
        wrong, alike = ~one.hits & ~two.hits, one.predictions == two.predictions
        counts = (one.hits & two.hits, found.mended, found.broken, wrong & alike, wrong & ~alike)
        rows.append((other.letter, *(int(each.sum()) for each in counts)))
    return Table(f"Rows by what {first.letter} and each other run make of them", columns, rows)


def _products_table(comparison: Comparison) -> Table:
    """A row a product: what each run says, and what the others change."""
    table = comparison.table
    columns = [Column("id"), Column("fold"), Column("given")]
    for each in comparison.contenders:
        columns += [Column(each.letter), Column(f"confidence {each.letter}", "number")]
    columns += [Column(f"{other.letter} against {comparison.first.letter}") for other in comparison.others]
    changes = []
    for other in comparison.others:
        found = comparison.pairs[other.letter]
        changes.append(np.select([found.mended, found.broken], ["mended", "broken"], "").tolist())
    rows: list[list[Cell]] = []
    for row, given in enumerate(table.labels or ()):
        cells: list[Cell] = [table.ids[row], None if table.folds is None else int(table.folds[row]), given]
        for scores in comparison.scores.values():
            cells += [table.classes[scores.predictions[row]], float(scores.confidence[row])]
        rows.append([*cells, *(change[row] for change in changes)])
    return Table("Every product", columns, rows)


def _classes_table(comparison: Comparison, other: Contender, found: Sequence[ClassChange]) -> Table:
    first = comparison.first.letter
    names = ["products", f"right by {first}", f"by {other.letter}", "change", "from", "to", "mended", "broken"]
    kinds = ["count", "share", "share", "share", "share", "share", "count", "count"]
    columns = [Column("class"), *(Column(name, kind) for name, kind in zip(names, kinds, strict=True))]
    rows = [
        (
            comparison.table.classes[each.number],
            each.rows,
            each.before,
            each.now,
            each.change.value,
            each.change.low,
            each.change.high,
            each.mended,
            each.broken,
        )
        for each in found
    ]
    return Table(f"How the share of right ones changes from {first} to {other.letter}; a heading sorts", columns, rows)


def _cards(comparison: Comparison, other: Contender, rows: np.ndarray) -> list[Card]:
    """Of these rows those in which the two runs differ most about the given class."""
    first = comparison.first
    one, two = comparison.scores[first.letter], comparison.scores[other.letter]
    chosen = np.flatnonzero(rows)
    chosen = chosen[np.argsort(-np.abs(two.truth - one.truth)[chosen], kind="stable")][:SHOWN]
    evidence = Evidence("", (), comparison.table, comparison.rows)
    names = comparison.table.classes
    cards = []
    for row in chosen.tolist():
        lines = [("given", names[one.targets[row]])]
        for each, scores in ((first, one), (other, two)):
            said = f"{names[scores.predictions[row]]} ({percent(float(scores.confidence[row]))})"
            right = "right" if scores.hits[row] else f"given class {percent(float(scores.truth[row]))}"
            lines.append((each.letter, f"{said}, {right}"))
        cards.append(card(evidence, row, lines))
    return cards


def _plot(comparison: Comparison) -> Plot:
    """The differences of the two shares that matter, as a forest."""
    lines = [
        (
            f"{other.letter} less {comparison.first.letter}: {FIGURES[key]}",
            comparison.pairs[other.letter].differences[key],
        )
        for other in comparison.others
        for key in ("top1", "top3", "macro_f1")
    ]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        places = np.arange(len(lines))
        values = [100 * each.value for _, each in lines]
        low = [100 * (each.value - each.low) for _, each in lines]
        high = [100 * (each.high - each.value) for _, each in lines]
        axes.axvline(0, color=ACCENT, linewidth=1, linestyle="--")
        axes.errorbar(values, places, xerr=[low, high], fmt="o", color=DARK, ecolor=MUTED, ms=6)
        axes.set_yticks(places, [name for name, _ in lines])
        axes.invert_yaxis()
        axes.margins(y=0.2)
        axes.set_xlabel("points; dashed: no difference")
        axes.grid(axis="y", visible=False)

    said = "; ".join(f"{name} {_points(each.value)} points" for name, each in lines)
    caption = "A bar that doesn't touch the dashed line shows a difference; right of it the run is better."
    return Plot("differences", caption, f"{said}.", (7.0, max(1.8, 0.9 + 0.4 * len(lines))), draw)


def _classes_plot(comparison: Comparison, other: Contender, found: Sequence[ClassChange]) -> Plot:
    first = comparison.first.letter
    names = [comparison.table.classes[each.number] for each in found]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        places = np.arange(len(found))
        before, now = [each.before for each in found], [each.now for each in found]
        axes.hlines(places, np.minimum(before, now), np.maximum(before, now), color=MUTED, linewidth=1.5)
        axes.plot(before, places, color=DARK, marker="o", ms=7, ls="none", label=first, clip_on=False)
        axes.plot(now, places, color=ACCENT, marker="D", ms=6, ls="none", label=other.letter, clip_on=False)
        labels = [f"{shorten_label(name)}  ({each.rows:,})" for name, each in zip(names, found, strict=True)]
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.set_xlabel("share of the class's products that are right")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="best")
        in_percent(axes, "x")

    said = ", ".join(
        f"{name} from {percent(each.before, 0)} to {percent(each.now, 0)}"
        for name, each in [*zip(names, found, strict=True)][:3]
    )
    caption = (
        "The classes that change most, with the number of their products; of a few products a change may be chance."
    )
    size = (7.2, max(2.0, 1.1 + 0.3 * len(found)))
    return Plot(f"classes-{other.letter}", caption, f"Changed most: {said}.", size, draw)
