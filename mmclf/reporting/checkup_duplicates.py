"""Duplicates: how many, what leaks because of them, and the largest sets."""

from collections import Counter

import numpy as np

from ..checking.duplicate_findings import leak_of, test_rows_seen
from ..checking.examination import Examination
from ..checking.sets import members
from .checkup_cards import product
from .gallery import Card
from .section import Column, Section, Table, percent, render

# sets that are shown, and rows of each
SHOWN_SETS, SHOWN_ROWS = 8, 3


def duplicates(found: Examination) -> Section:
    """Rows of one product, and the share of them that folds tear apart."""
    subject = found.subject
    table = _table(found)
    shown = [_cards(found, what, rows) for what, rows in _worth_showing(found)]
    leak = None if subject.plain_folds is None else leak_of(subject, subject.plain_folds)
    html = render(
        "checkup_duplicates.html.j2",
        table=table,
        shown=shown,
        folds=subject.config.train.folds,
        has_test=subject.test is not None,
        groups_csv=subject.groups_csv,
        stand_ins=[(name, len(rows)) for name, rows in subject.duplicates.stand_ins],
    )
    summary = ""
    if leak is not None and leak.groups:
        summary = (
            f"In plain folds {percent(leak.share, 0)} of the rows would be validated by a model that was trained on a "
            "duplicate of them."
        )
    return Section("duplicates", "Duplicates", html, summary, tables={"duplicates": _all(found)})


def _table(found: Examination) -> Table:
    subject, kinds = found.subject, found.subject.duplicates
    columns = [Column("the same"), Column("sets", "count"), Column("rows", "count")]
    columns += [Column("torn apart by these folds", "share"), Column("by plain folds", "share")]
    columns += [Column("rows of the test seen in training", "count")] * (subject.test is not None)
    total = len(subject.catalog)
    lines = []
    for name, attribute in (("picture", "pictures"), ("text", "texts"), ("picture or text", "groups")):
        sets = getattr(kinds, attribute)
        several = subject.train_sets(sets)
        torn = [
            None if folds is None else getattr(leak_of(subject, folds), attribute) / total
            for folds in (subject.folds, subject.plain_folds)
        ]
        line = [name, len(several), sum(map(len, several)), *torn]
        lines.append([*line, len(test_rows_seen(subject, sets))] if subject.test is not None else line)
    return Table("Rows that are the same product by all appearances", columns, lines)


def _all(found: Examination) -> Table:
    """Every row that has a duplicate, with its set."""
    subject = found.subject
    of_train = len(subject.catalog)
    ids = [*subject.catalog.ids, *(subject.test.ids if subject.test is not None else ())]
    lines = []
    for rows in members(subject.duplicates.groups):
        for row in rows.tolist():
            label = subject.labels[row] if row < of_train else None
            lines.append((ids[rows[0]], ids[row], "train" if row < of_train else "test", label))
    return Table("", [Column("set"), Column("id"), Column("table"), Column("label")], lines)


def _worth_showing(found: Examination) -> list[tuple[str, np.ndarray]]:
    """Of each kind of duplicates some sets, spread from the largest to the smallest."""
    kinds = (("picture", found.subject.duplicates.pictures), ("text", found.subject.duplicates.texts))
    chosen: dict[tuple[int, ...], tuple[str, np.ndarray]] = {}
    for what, sets in kinds:
        all_of_them = members(sets)
        step = max(1, len(all_of_them) // (SHOWN_SETS // 2))
        for rows in all_of_them[::step][: SHOWN_SETS // 2]:
            chosen.setdefault(tuple(rows.tolist()), (what, rows))
    return list(chosen.values())


def _cards(found: Examination, what: str, rows: np.ndarray) -> tuple[str, list[Card]]:
    shared = _shared_pictures(found, rows) if what == "picture" else {}
    more = f", of which {SHOWN_ROWS} are shown" if len(rows) > SHOWN_ROWS else ""
    cards = [product(found, int(row), picture=shared.get(int(row), "")) for row in rows[:SHOWN_ROWS]]
    return f"The same {what}: {len(rows)} rows{more}", cards


def _shared_pictures(found: Examination, rows: np.ndarray) -> dict[int, str]:
    """Of each row of a set the name of the picture that most of them have."""
    subject = found.subject
    place = {name: n for n, name in enumerate(subject.looks.names)}
    later = subject.test.rows.pictures if subject.test is not None else []
    pictures = [*subject.catalog.rows.pictures, *later]
    number_of = {
        (row, name): int(subject.duplicates.alike[place[name]]) for row in rows.tolist() for name in pictures[row]
    }
    most = Counter(number for number in number_of.values()).most_common(1)[0][0]
    return {row: name for (row, name), number in reversed(number_of.items()) if number == most}
