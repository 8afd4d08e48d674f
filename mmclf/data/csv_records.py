"""What only the records of a CSV show, not its cells: rows that lack fields, and rows that stray quotes swallowed.

A quote at the beginning of a field opens a text that may go on over many lines, up to the next quote. Where the first
one is a slip of the pen, the rows between become part of a description, and nothing else shows it: the fields still add
up. A description of several lines is told from swallowed rows by what the lines are: each line of the record, taken
alone, is a row with a field for every column, an id of the table's kind and, where there are labels, one of them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .csv_text import open_text, split_records
from .table import Table

# a field that begins with a quote and ends with one on this line, else anything up to a comma
FIELD = re.compile(r'(?:^|,)("(?:[^"]|"")*+"[^,]*|[^,]*)')


@dataclass(frozen=True)
class Record:
    """A row of a CSV as it is written.

    Attributes:
        line: number of its first line, from 1.
        lines: of the file.
        fields: how many it has.
    """

    line: int
    lines: tuple[str, ...]
    fields: int


def record_warnings(
    table: Table, id_col: str, ids: Sequence[str], label_col: str | None, labels: Sequence[str] | None
) -> Iterator[str]:
    """Sentences about rows of a CSV that lack fields or were swallowed; the file is read again if there may be any.

    Args:
        table: that was read.
        id_col: the name of its id column.
        ids: that it holds.
        label_col: the name of its label column; None without labels.
        labels: that it holds; None without labels.
    """
    columns = list(table.frame.columns)
    is_plain = table.lines <= len(table.frame) + 1 and (table.frame.iloc[:, -1] != "").all()
    if table.path is None or len(columns) < 2 or is_plain:
        return
    rows = RowKind(columns.index(id_col), ids, None if label_col is None else columns.index(label_col), labels or ())
    short, swallowed = [], []
    with open_text(table.path) as text:
        for number, record in enumerate(read_records(text)):
            if record.fields < len(columns):
                short.append(number)
            if len(record.lines) > 1 and rows.fill(record.lines, len(columns)):
                swallowed.append(record)
    if short:
        yield (
            f"{table.name}: {len(short):,} rows have fewer fields than the header has columns, the first is row "
            f"{short[0]:,}; what they lack counts as empty"
        )
    if swallowed:
        lost = sum(_written(record) - 1 for record in swallowed)
        yield (
            f"{table.name}: line {swallowed[0].line:,}: a quoted field goes on over {_written(swallowed[0])} lines "
            f"that look like rows of their own ({lost:,} rows of the whole table); is a quote missing there, or one "
            "too many?"
        )


def read_records(lines: Iterable[str]) -> Iterator[Record]:
    """The records of a CSV, its header the first; blank lines are none.

    Args:
        lines: with their ends.
    """
    taken: list[str] = []
    line = 1

    def fed() -> Iterator[str]:
        for each in lines:
            taken.append(each)
            yield each

    for fields in split_records(fed()):
        if fields:
            yield Record(line, tuple(taken), len(fields))
        line += len(taken)
        taken.clear()


class RowKind:
    """What a row of a table looks like."""

    def __init__(self, id_place: int, ids: Sequence[str], label_place: int | None, labels: Iterable[str]) -> None:
        self._id_place, self._label_place = id_place, label_place
        self._ids, self._labels = ids, frozenset(labels)
        self._shapes: frozenset[str] = frozenset()

    def fill(self, lines: Iterable[str], columns: int) -> bool:
        """Whether each of these lines but the blank ones is a row by all appearances, and there are several."""
        rows = []
        for line in lines:
            if line.strip():
                rows.append(_fields(line.rstrip("\r\n")))
                if len(rows[-1]) != columns:
                    return False
        # spaces after commas are those of a sentence
        if len(rows) < 2 or any(cell[:1].isspace() for row in rows[1:] for cell in row):
            return False
        if self._label_place is not None:
            # a class may be swallowed whole, so a label that stands there twice is one
            labels = Counter(row[self._label_place].strip() for row in rows)
            if any(count == 1 and label not in self._labels for label, count in labels.items()):
                return False
        self._shapes = self._shapes or frozenset(map(_shape, self._ids))
        return all(_shape(row[self._id_place]) in self._shapes for row in rows[1:])


def _written(record: Record) -> int:
    """Its lines that aren't blank."""
    return sum(bool(line.strip()) for line in record.lines)


def _fields(line: str) -> list[str]:
    """The fields of a line on its own; a quote that isn't closed on it is a letter."""
    found = [match.group(1) for match in FIELD.finditer(line)]
    return [cell[1:-1].replace('""', '"') if cell[:1] == cell[-1:] == '"' and len(cell) > 1 else cell for cell in found]


def _shape(text: str) -> str:
    """What an id is made of: `MH06-Purple` is `a0-a`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text))
