"""Tables as they are given: a CSV or a data frame, with every cell as a string."""

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from ..errors import TableError, shown
from .csv_text import check_file, measure, open_text, split_records

# what pandas.read_csv reads as missing by default (its documented list)
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
# those of a spreadsheet; each costs pandas 0.3 ms, whatever it holds
MOST_COLUMNS = 16_384
MOST_GAPS = 20_000_000
# names of columns in a message
MOST_LISTED = 20


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        name: for messages: its path, or `data frame`.
        path: of the CSV; None for a data frame.
        frame: strings alone; a missing cell is `""`.
        lines: of the CSV, its header and blank ones included.
    """

    name: str
    path: Path | None
    frame: pd.DataFrame
    lines: int = 0

    def column(self, name: str, key: str) -> list[str]:
        """The cells of a column that `key` names.

        Raises:
            TableError: there is no such column.
        """
        if name not in self.frame.columns:
            raise TableError(f"{self.name}: no column {name!r} ({key}); it has {self.listed()}")
        return [str(value) for value in self.frame[name]]

    def listed(self) -> str:
        """The names of its columns, for messages."""
        more = f" and {len(self.frame.columns) - MOST_LISTED:,} more" if len(self.frame.columns) > MOST_LISTED else ""
        return ", ".join(map(shown, self.frame.columns[:MOST_LISTED])) + more


TableLike = str | Path | pd.DataFrame | Table


def first_few(texts: Sequence[str]) -> str:
    """The first of many, for messages."""
    return ", ".join(map(shown, texts[:3])) + (", ..." if len(texts) > 3 else "")


def open_table(table: TableLike, key: str = "--csv") -> Table:
    """Read a table; one that was read already stays what it is.

    Args:
        table: a CSV with a header, UTF-8; compressed if its name says so (`.gz`, `.bz2`, `.xz`, `.zip`). Or a data
            frame, whose cells become what they would be in a CSV.
        key: the option that named it, for messages.

    Raises:
        TableError: it can't be read, or is no table.
    """
    if isinstance(table, Table):
        return table
    if isinstance(table, pd.DataFrame):
        return Table("data frame", None, _as_strings(table))
    path = local_path(table, key)
    check_file(path, key)
    frame, lines = _read_csv(path)
    return Table(str(path), path, frame, lines)


def local_path(address: str | Path, key: str) -> Path:
    """A path on this machine.

    Raises:
        TableError: it is the address of something elsewhere, such as `s3://...`.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", str(address)):
        raise TableError(
            f"{key}: {address}: is not on this machine, and only `batch` reads such addresses; copy it here"
        )
    return Path(address)


def _read_csv(path: Path) -> tuple[pd.DataFrame, int]:
    """A CSV with all columns as strings, an absent field as `""`; and the number of its lines."""
    try:
        lines, separators = measure(path)
        with open_text(path) as text:
            names = _header(text, path)
        # pandas makes a cell of each field that a row lacks
        if len(names) * lines > MOST_GAPS + 3 * separators:
            raise TableError(
                f"{path}: has {len(names):,} columns and {lines:,} lines, most of which hold a few fields only; leave "
                "out the columns that are empty"
            )
        with open_text(path) as text:
            table = pd.read_csv(text, dtype=str, keep_default_na=False)
    except TableError:
        raise
    except pd.errors.EmptyDataError:
        raise TableError(
            f"{path}: is empty; the first line names the columns, for example id,title,description"
        ) from None
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise TableError(
            f"{path}: not a well-formed CSV: {reason}; is a field with a comma or a quote unquoted?"
        ) from None
    except UnicodeDecodeError as error:
        # its position counts from the start of a chunk, not of the file
        byte = error.object[error.start]
        raise TableError(f"{path}: {_not_utf8(path)}byte 0x{byte:02x} is not UTF-8; save the table as UTF-8") from None
    # each decompressor has errors of its own
    except Exception as error:
        raise TableError(f"{path}: can't be read: {error}") from None
    if table.empty:
        raise TableError(f"{path}: has a header but no rows")
    if not isinstance(table.index, pd.RangeIndex) or len(names) != len(table.columns):
        raise TableError(f"{path}: its header can't be read: is it one line of names, without control characters?")
    # pandas renames a repeated column without a word
    if (twice := _repeated(names)) is not None:
        raise TableError(f"{path}: column {shown(twice)} stands twice in the header; rename one of them")
    table.columns = pd.Index(names)
    return table, lines


def _header(text: TextIO, path: Path) -> list[str]:
    """The names of the columns; `id, title` means `id,title`.

    Read without pandas, which takes minutes for a million columns, be it in the header or in the first row.

    Raises:
        TableError: there are too many, the first row has more, or they are separated by something else.
    """
    lines = (line.lstrip("\ufeff") if number == 0 else line for number, line in enumerate(text))
    with contextlib.closing(split_records(lines)) as records:
        written = filter(None, records)
        names, first = next(written, []), next(written, [])
    if not names:
        raise pd.errors.EmptyDataError
    if len(names) > MOST_COLUMNS:
        raise TableError(
            f"{path}: has {len(names):,} columns, and {MOST_COLUMNS:,} at most are read; leave out those that are "
            "neither id, texts nor label"
        )
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise TableError(f"{path}: its columns are not separated by commas: the header is {shown(names[0])}")
    # pandas takes surplus leading fields for an index
    if len(first) > len(names):
        raise TableError(f"{path}: its rows have more fields than its header has columns ({', '.join(names):.80})")
    return [name.strip() for name in names]


def _repeated(names: Sequence[str]) -> str | None:
    """The first name, in their order, that stands there twice."""
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


def _as_strings(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise TableError("data frame: has no rows" if len(frame.columns) else "data frame: is empty")
    names = [str(name).strip() for name in frame.columns]
    if (twice := _repeated(names)) is not None:
        raise TableError(f"data frame: column {shown(twice)} stands twice; rename one of them")
    columns = {
        name: ["" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value) for value in frame.iloc[:, n]]
        for n, name in enumerate(names)
    }
    return pd.DataFrame(columns, dtype=str)


def _not_utf8(path: Path) -> str:
    """`line 12: `, the first line of a plain CSV that isn't UTF-8; `""` for a compressed one."""
    if path.suffix.lower() not in (".csv", ".txt", ".tsv", ""):
        return ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"line {number:,}: "
    return ""
