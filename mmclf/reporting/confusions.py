"""Which classes are taken for which: the matrix, the worst pairs, and products of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.confusion import Confusion, Pair, confused_pairs, confusion_of, in_order, most_confused
from .drawing import Plot, shorten_label
from .evidence import Evidence
from .gallery import Card, card
from .section import Column, Section, Table, listed, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# classes of the matrix; pairs in the table, and those of them that are shown with products, at most so many of each
MOST_CLASSES, MOST_PAIRS, SHOWN_PAIRS, SHOWN_ROWS = 40, 20, 8, 3


@dataclass(frozen=True)
class Shown:
    """A pair with some of its products."""

    pair: Pair
    cards: list[Card]


def confusions(evidence: Evidence) -> Section:
    """The matrix in an order that puts confused classes together, the worst pairs, and a gallery of them."""
    classes, pairs = evidence.table.classes, confused_pairs(evidence.table)
    shown = confusion_of(evidence.table, most_confused(classes, pairs, MOST_CLASSES))
    shown = shown.take(in_order(shown))
    sizes = dict(zip(classes, np.bincount(evidence.targets, minlength=len(classes)).tolist(), strict=True))
    rows = [sizes[name] for name in shown.classes]
    plot = matrix_plot(shown, rows, pairs)
    table = pairs_table(pairs)
    html = render(
        "confusions.html.j2",
        confusion=shown,
        rows=rows,
        counts=shown.counts.tolist(),
        all_classes=len(classes),
        mistakes=int((~evidence.hits).sum()),
        shown_mistakes=int(shown.mistakes.sum()),
        table=table.first(MOST_PAIRS),
        all_pairs=len(pairs),
        gallery_of=[Shown(pair, _cards(evidence, pair)) for pair in _worth_showing(pairs)],
    )
    worst = [f"{pair.given} for {pair.taken_for} ({pair.rows})" for pair in pairs[:3]]
    summary = f"Most often mistaken: {listed(worst)}." if worst else ""
    return Section("confusions", "What is taken for what", html, summary, {plot.name: plot}, {"confusions": table})


def pairs_table(pairs: list[Pair]) -> Table:
    """Pairs of classes, the most mistakes first."""
    columns = [Column("given"), Column("taken for"), Column("products", "count"), Column("share of given", "share")]
    rows = [(pair.given, pair.taken_for, pair.rows, pair.share) for pair in pairs]
    return Table("The most frequent confusions", columns, rows)


def matrix_plot(confusion: Confusion, rows: Sequence[int], pairs: Sequence[Pair]) -> Plot:
    """The matrix as a picture, shaded by the share of each row.

    Args:
        confusion: in the order that is wanted.
        rows: how many there are of each class.
        pairs: the worst first.
    """
    size = len(confusion.classes)
    shares = confusion.counts / np.maximum(np.array(rows)[:, None], 1)
    names = [shorten_label(name) for name in confusion.classes]
    side = max(3.2, 1.6 + 0.27 * size)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        axes.set_xticks(range(size), names, rotation=90, fontsize=8)
        axes.set_yticks(range(size), names, fontsize=8)
        for given, taken in zip(*np.nonzero(confusion.counts), strict=True):
            colour = "white" if shares[given, taken] > 0.5 else "black"
            text = f"{confusion.counts[given, taken]}"
            axes.text(taken, given, text, ha="center", va="center", fontsize=6.5, color=colour)
        axes.set_xlabel("taken for")
        axes.set_ylabel("given")

    said = "; ".join(f"{pair.given} for {pair.taken_for} {pair.rows} times" for pair in pairs[:3]) or "nothing"
    caption = "Rows: what a product is labelled as; columns: what it is taken for. Neighbours are confused classes."
    return Plot("confusion-matrix", caption, f"Most often taken: {said}.", (side + 0.6, side), draw)


def _worth_showing(pairs: list[Pair]) -> list[Pair]:
    """The first few pairs; those of a single product only where there are no others."""
    return [pair for pair in pairs[:SHOWN_PAIRS] if pair.rows > 1] or pairs[: SHOWN_PAIRS // 4]


def _cards(evidence: Evidence, pair: Pair) -> list[Card]:
    """The products of a pair of which the mistake was surest."""
    classes = evidence.table.classes
    given, taken = classes.index(pair.given), classes.index(pair.taken_for)
    rows = np.flatnonzero((evidence.targets == given) & (evidence.predictions == taken))
    order = np.argsort(-evidence.table.probabilities[rows, taken], kind="stable")
    return [card(evidence, int(row)) for row in rows[order][:SHOWN_ROWS]]
