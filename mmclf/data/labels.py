"""The labels of a table, and what is suspicious about them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..errors import MOST_SHOWN, TableError, shown
from .table import MISSING, Table

# besides what pandas reads as missing: other spellings of it, and what `infer` writes where it isn't sure
NO_LABEL = MISSING | {"none", "NONE", "Null", "NAN", "Nan", "nil", "n.a.", "N.A.", "unassigned"}
SHOWN = 5


def read_labels(table: Table, wanted: str | None) -> tuple[str, list[str]]:
    """The name of the label column and the label of each row, without spaces around it.

    Args:
        table: that was read.
        wanted: the column; None for `categories`, else `label`.

    Raises:
        TableError: there is no such column, a row has no label or one that stands for none, or all have the same.
    """
    name = wanted or next((c for c in ("categories", "label") if c in table.frame.columns), None)
    if name is None:
        raise TableError(
            f"{table.name}: no label column 'categories' or 'label' to train on; name it by data.label_col "
            f"(columns: {table.listed()})"
        )
    labels = [label.strip() for label in table.column(name, "data.label_col")]
    missing = [row for row, label in enumerate(labels, start=1) if label in NO_LABEL]
    if missing:
        words = sorted({labels[row - 1] for row in missing} - {""})
        found = "is empty" if not words else f"holds {', '.join(map(repr, words))}, which stands for no label"
        rename = f"; if {words[0]!r} is a class, give it another name, as '{words[0]} (class)'" if words else ""
        raise TableError(
            f"{table.name}: {_listed(missing)}: column {name!r} {found}; label these rows or leave them out{rename}"
        )
    if len(set(labels)) < 2:
        raise TableError(
            f"{table.name}: column {name!r} holds only {shown(labels[0])}; a classifier needs two classes or more"
        )
    return name, labels


def label_warnings(
    table: str, name: str, labels: Sequence[str], texts: Mapping[str, Sequence[str]], named: Iterable[str]
) -> Iterator[str]:
    """Sentences about labels that can be trained on but hardly mean what they say.

    Args:
        table: its name.
        name: of the label column.
        labels: of the rows.
        texts: cells of each text column, by its name.
        named: labels that `data.classes_csv` holds.
    """
    counts = Counter(labels)
    alike = alike_labels(dict.fromkeys(named, 0) | counts)
    if alike:
        shown = [" and ".join(f"{_shown(label)} ({counts[label]:,} rows)" for label in group) for group in alike]
        more = f" and {len(alike) - SHOWN:,} more" if len(alike) > SHOWN else ""
        yield (
            f"{table}: column {name!r}: labels that differ only in case, spaces, invisible characters or the "
            f"writing of a number are classes of their own: {'; '.join(shown[:SHOWN])}{more}"
        )
    for column, cells in texts.items():
        if all(cell.strip() == label for cell, label in zip(cells, labels, strict=True)):
            yield f"{table}: text column {column!r} is the label in every row: the texts hold the answer"


def alike_labels(counts: Mapping[str, int]) -> list[list[str]]:
    """Labels that a person would take for one, together; those of many rows first.

    Args:
        counts: rows of each label.
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(_essence(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _essence(label: str) -> str:
    """A label without case, spaces, invisible characters and Unicode forms; `1.0` is `1`."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold())
    bare = "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")
    return bare.rstrip("0").rstrip(".") if re.fullmatch(r"[-+]?\d+\.\d*", bare) else bare


def _shown(label: str) -> str:
    """A label so that another Unicode form of it looks different."""
    return shown(label) if unicodedata.is_normalized("NFC", label) else ascii(label)[:MOST_SHOWN]


def _listed(rows: Sequence[int]) -> str:
    """`row 3`, `rows 3 and 4`, or `rows 3, 4, 7, 8, 9 and 12 more`."""
    shown = [str(row) for row in rows[:SHOWN]]
    last = f"{len(rows) - SHOWN:,} more" if len(rows) > SHOWN else shown.pop()
    return f"rows {', '.join(shown)} and {last}" if shown else f"row {last}"
