"""Labels: contradictions, classes that are hardly two, and labels that stand in the texts."""

from collections import Counter

import numpy as np

from ..checking.examination import Examination
from ..checking.finding import counted
from ..checking.label_findings import near_equal, rows_that_tell
from .checkup_cards import product
from .gallery import Card
from .section import Column, Section, Table, render

# sets that are shown of each kind, rows of each, and rows whose text holds their label
SHOWN_SETS, SHOWN_ROWS, SHOWN_TELLING = 4, 3, 3
KINDS = {"all": "The same picture and text", "picture": "The same picture", "text": "The same text"}


def labels(found: Examination) -> Section:
    """What speaks against them."""
    subject = found.subject
    conflicts = found.conflicts()
    kinds = []
    for kind, heading in KINDS.items():
        sets = [rows for what, rows in conflicts if what == kind]
        if sets:
            cards = [card for rows in sets[:SHOWN_SETS] for card in _differing(found, rows)]
            kinds.append((heading, f"{counted(len(sets), 'set')}, {sum(map(len, sets)):,} rows", cards))
    counts = Counter(subject.labels)
    alike = [
        (" / ".join(group), " / ".join(f"{counts[name]:,}" for name in group))
        for group, _ in near_equal(subject.labels)
    ]
    columns = [Column("labels"), Column("rows")]
    alike_table = Table("Labels that are hardly classes of their own", columns, alike)
    telling = rows_that_tell(subject)
    html = render(
        "checkup_labels.html.j2",
        kinds=kinds,
        alike=alike_table if alike else None,
        telling=len(telling),
        cards=[product(found, row) for row in telling[:SHOWN_TELLING]],
        rows=len(subject.catalog),
    )
    summary = ""
    if conflicts:
        rows = len({int(row) for _, part in conflicts for row in part})
        summary = f"{counted(rows, 'row')} have the picture or the text of a row with another label."
    return Section("labels", "Labels", html, summary, tables={"conflicts": _table(found)} if conflicts else {})


def _differing(found: Examination, rows: np.ndarray) -> list[Card]:
    """The cards of a set's first rows of different labels."""
    first: dict[str, int] = {}
    for row in rows.tolist():
        first.setdefault(found.subject.labels[row], row)
    return [product(found, row, [("the same", f"{len(rows)} rows")]) for row in list(first.values())[:SHOWN_ROWS]]


def _table(found: Examination) -> Table:
    """Every row with its set and what the set has in common."""
    subject = found.subject
    columns = [
        Column("set", "count"),
        Column("same"),
        Column("id"),
        Column("label"),
        Column("text"),
        Column("pictures"),
    ]
    lines = []
    for number, (what, rows) in enumerate(found.conflicts(), start=1):
        for row in rows.tolist():
            text, names = subject.catalog.rows.texts[row], subject.catalog.rows.pictures[row]
            same = "picture and text" if what == "all" else what
            lines.append((number, same, subject.catalog.ids[row], subject.labels[row], text[:500], " ".join(names)))
    return Table("", columns, lines)
