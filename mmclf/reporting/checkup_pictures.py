"""Pictures: their sizes, and those that can't be used or show little."""

from typing import TYPE_CHECKING

import numpy as np

from ..checking.examination import Examination
from ..checking.finding import counted
from ..checking.picture_findings import elongated, flat, oversized, tiny, unreadable
from .checkup_cards import product
from .drawing import ACCENT, DARK, Plot
from .gallery import Card
from .section import Column, Section, Table, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# factor between two sides that the plot names
APART = 1.3
# pictures that are shown of each kind
SHOWN = 3
KINDS = {
    "can't be read": unreadable,
    "large": oversized,
    "tiny": tiny,
    "of one colour": flat,
    "elongated": elongated,
}


def pictures(found: Examination) -> Section:
    """Sizes, and a gallery of what is wrong."""
    looks = found.subject.looks
    problems = [(what, names) for what, find in KINDS.items() if (names := find(found.subject))]
    columns = [Column("picture"), Column("width", "count"), Column("height", "count"), Column("what")]
    what_of: dict[str, list[str]] = {}
    for what, names in problems:
        for name in names:
            what_of.setdefault(name, []).append(what)
    lines = [
        (name, int(width), int(height), ", ".join(what_of.get(name, ())))
        for name, (width, height) in zip(looks.names, looks.sizes, strict=True)
    ]
    sizes = looks.sizes[looks.is_readable].min(axis=1)
    plot = _sizes_plot(sizes, found.subject.config.data.img_size) if len(sizes) else None
    html = render(
        "checkup_pictures.html.j2",
        plot=plot,
        count=len(looks),
        kinds=[(what, len(names), _cards(found, names, looks.problems)) for what, names in problems],
    )
    plots = {} if plot is None else {plot.name: plot}
    return Section("pictures", "Pictures", html, "", plots, {"pictures": Table("", columns, lines)})


def _cards(found: Examination, names: list[str], problems: dict[int, str]) -> list[Card]:
    """A card for each of the first pictures that rows of the catalogue have."""
    row_of = {i: row for row, i in enumerate(found.subject.catalog.ids)}
    place = {name: n for n, name in enumerate(found.subject.looks.names)}
    cards: list[Card] = []
    for name in names:
        owners = found.subject.picture_rows.get(name, [])
        if owners and len(cards) < SHOWN:
            width, height = found.subject.looks.sizes[place[name]]
            lines = [("picture", name), ("size", f"{width} x {height}" if width else "unknown")]
            if place[name] in problems:
                lines.append(("why", problems[place[name]].removeprefix(f"{name}: ")))
            cards.append(product(found, row_of[owners[0]], lines, name))
    return cards


def _sizes_plot(sizes: np.ndarray, needed: int) -> Plot:
    low, high = max(1, int(sizes.min())), int(sizes.max())

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        edges = np.geomspace(low * 0.95, high * 1.05 + 1, 31)
        axes.hist(sizes, bins=edges.tolist(), color=DARK)
        axes.axvline(needed, color=ACCENT, linestyle="--", linewidth=1.5)
        axes.set_xscale("log")
        marks = [needed]
        for side in (low, high, *(2**power for power in range(4, 14))):
            if low <= side <= high and all(max(side, mark) > APART * min(side, mark) for mark in marks):
                marks.append(side)
        axes.set_xticks(marks, [f"{n:,}" for n in marks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(f"shorter side in pixels; the dashed line is the {needed} that is looked at")
        axes.set_ylabel("pictures")

    middle = int(np.median(sizes))
    said = f"Shorter sides of {counted(len(sizes), 'picture')}: {low:,} to {high:,} pixels, half below {middle:,}."
    return Plot("picture-sizes", "Left of the line pictures are enlarged.", said, (5.2, 3.0), draw)
