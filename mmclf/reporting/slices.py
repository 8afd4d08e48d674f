"""Where it does well and where not: kinds of products, and what a picture and a text contribute."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.intervals import Interval, wilson
from .drawing import ACCENT, DARK, MUTED, Plot, in_percent
from .evidence import Evidence, Modalities
from .section import Cell, Column, Section, Table, listed, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# upper ends, in words, of a short text, a middling one; of a title
WORDS, TITLE_WORDS = (10, 50), (3, 8)
# upper ends of the sizes of classes
SIZES = (10, 50, 200)


@dataclass(frozen=True)
class Slice:
    """Some of the products.

    Attributes:
        kind: by what they are told apart.
        name: of this part.
        rows: how many.
        top1: share of right ones; its interval counts a group once.
    """

    kind: str
    name: str
    rows: int
    top1: Interval


def slices(evidence: Evidence) -> Section:
    """Top-1 of kinds of products, with intervals, and what picture and text contribute."""
    found = find_slices(evidence)
    plot = _plot(found, float(evidence.hits.mean()))
    table = _table(found)
    decided = None if evidence.modalities is None else decided_table(evidence, evidence.modalities)
    tables = {"slices": table, "products": products_table(evidence)} | ({"modalities": decided} if decided else {})
    html = render(
        "slices.html.j2",
        table=table,
        plot=plot,
        decided=decided,
        both=0 if evidence.modalities is None else int(evidence.modalities.both.sum()),
        rows=len(evidence),
        has_rows=evidence.rows is not None,
        left_out=listed(_left_out(evidence)) if _left_out(evidence) else "",
        is_fusion=bool(evidence.members),
        is_out_of_fold=evidence.new is None,
    )
    return Section("slices", "Kinds of products", html, plots={plot.name: plot}, tables=tables)


def find_slices(evidence: Evidence) -> list[Slice]:
    """The kinds that the products fall into; a kind that all of them share is left out."""
    found = []
    for kind, parts in _masks(evidence):
        there = {name: mask for name, mask in parts.items() if mask.any()}
        if len(there) > 1:
            found += [_slice(evidence, kind, name, mask) for name, mask in there.items()]
    return found


def decided_by(evidence: Evidence, found: Modalities) -> np.ndarray:
    """For each row what decided: "each alone", "the text", "the picture", "both together", "" where one is missing.

    The one that names alone what is named by both decided; "each alone" where either does, and "both together" where
    neither does.
    """
    named = evidence.predictions
    text, picture = found.by_text.argmax(axis=1) == named, found.by_picture.argmax(axis=1) == named
    decided: np.ndarray = np.select(
        [~found.both, text & picture, text, picture], ["", "each alone", "the text", "the picture"], "both together"
    )
    return decided


def decided_table(evidence: Evidence, found: Modalities) -> Table:
    """Accuracy with the one or the other taken away, and what decided, of the rows that have both."""
    both, targets = found.both, evidence.targets
    rows: list[tuple[Cell, ...]] = []
    for name, probabilities in (
        ("picture and text", evidence.table.probabilities),
        ("the text alone, the picture taken away", found.by_text),
        ("the picture alone, the text taken away", found.by_picture),
    ):
        hits = (probabilities.argmax(axis=1) == targets)[both]
        rows.append(("judged by", name, len(hits), *_share(evidence, hits, both)))
    kinds = decided_by(evidence, found)
    for name in ("each alone", "the text", "the picture", "both together"):
        here = kinds == name
        rows.append(("decided by", name, int(here.sum()), *_share(evidence, evidence.hits[here], here)))
    names = ["what", "which", "products", "right", "from", "to"]
    kinds_of = ["text", "text", "count", "share", "share", "share"]
    columns = [Column(name, kind) for name, kind in zip(names, kinds_of, strict=True)]
    return Table("What a picture and a text contribute, over the products that have both", columns, rows)


def products_table(evidence: Evidence) -> Table:
    """A row a product: fold, given and most probable class, its probability, whether they agree, and what decided."""
    columns = [Column("id"), Column("fold"), Column("given"), Column("taken for"), Column("confidence", "number")]
    columns.append(Column("right"))
    names, table = evidence.table.classes, evidence.table
    decided = None if evidence.modalities is None else decided_by(evidence, evidence.modalities)
    columns += [Column("decided by")] * (decided is not None)
    rows: list[list[Cell]] = []
    for row, (given, found) in enumerate(zip(evidence.targets, evidence.predictions, strict=True)):
        fold = None if table.folds is None else int(table.folds[row])
        sure = float(table.probabilities[row, found])
        rows.append([table.ids[row], fold, names[given], names[found], sure, "yes" if given == found else "no"])
        if decided is not None:
            rows[-1].append(str(decided[row]))
    return Table("Every product", columns, rows)


def _share(evidence: Evidence, hits: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    units = len(np.unique(evidence.units[mask]))
    found = wilson(float(hits.mean()) * units, units) if units else wilson(0, 0)
    return found.value, found.low, found.high


def _slice(evidence: Evidence, kind: str, name: str, mask: np.ndarray) -> Slice:
    return Slice(kind, name, int(mask.sum()), Interval(*_share(evidence, evidence.hits[mask], mask)))


def _masks(evidence: Evidence) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    rows = evidence.rows
    if rows is not None:
        pictures = np.array([len(names) for names in rows.pictures])
        yield "pictures", {"none": pictures == 0, "one": pictures == 1, "several": pictures > 1}
        words = np.array([len(text.split()) for text in rows.texts])
        yield "text", _steps(words, WORDS, "words", none="none")
        if rows.titles is not None:
            beyond = np.array([len(t) > len(title) for t, title in zip(rows.texts, rows.titles, strict=True)])
            yield "description", {"none": ~beyond, "some": beyond}
            titles = np.array([len(title.split()) for title in rows.titles])
            yield "title", _steps(titles, TITLE_WORDS, "words", none="none")
        if evidence.cut is not None:
            yield "text longer than is read", {"cut": evidence.cut, "read whole": ~evidence.cut}
    sizes = np.bincount(evidence.targets, minlength=len(evidence.table.classes))[evidence.targets]
    yield "size of the class", _steps(sizes, SIZES, "products")


def _steps(values: np.ndarray, ends: tuple[int, ...], unit: str, *, none: str = "") -> dict[str, np.ndarray]:
    found = {none: values == 0} if none else {}
    low = 1
    for end in ends:
        found[f"{low} to {end} {unit}"] = (values >= low) & (values <= end)
        low = end + 1
    return found | {f"{low} {unit} or more": values >= low}


def _left_out(evidence: Evidence) -> list[str]:
    """Kinds that aren't told apart since all products are alike in them."""
    return [kind for kind, parts in _masks(evidence) if sum(bool(mask.any()) for mask in parts.values()) < 2]


def _table(found: list[Slice]) -> Table:
    columns = [Column("kind"), Column("part"), Column("products", "count")]
    columns += [Column("top-1", "share"), Column("from", "share"), Column("to", "share")]
    rows = [(s.kind, s.name, s.rows, s.top1.value, s.top1.low, s.top1.high) for s in found]
    return Table("Top-1 of kinds of products, with 95 % intervals", columns, rows)


def _plot(found: list[Slice], overall: float) -> Plot:
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        places, last = [], ""
        place = 0.0
        for each in found:
            place += 0.6 if last and each.kind != last else 0
            places.append(place)
            place, last = place + 1, each.kind
        values = [s.top1.value for s in found]
        low, high = [s.top1.value - s.top1.low for s in found], [s.top1.high - s.top1.value for s in found]
        axes.axvline(overall, color=ACCENT, linewidth=1, linestyle="--")
        axes.errorbar(values, places, xerr=[low, high], fmt="o", color=DARK, ecolor=MUTED, ms=6)
        axes.set_yticks(places, [f"{s.kind}: {s.name}  ({s.rows:,})" for s in found])
        axes.invert_yaxis()
        axes.margins(y=0.05 if len(found) > 4 else 0.2)
        axes.set_xlim(right=1.01)
        axes.set_xlabel("top-1; dashed: all products")
        axes.grid(axis="y", visible=False)
        in_percent(axes, "x")

    worst = min(found, key=lambda s: s.top1.high, default=None)
    alt = f"Top-1 is {100 * overall:.1f} % of all products"
    alt += f"; lowest where {worst.kind} is {worst.name}: {100 * worst.top1.value:.1f} %." if worst else "."
    caption = "A kind whose bar lies left of the dashed line is where better data would help most."
    return Plot("slices", caption, alt, (7.4, max(2.0, 1.0 + 0.34 * len(found))), draw)
