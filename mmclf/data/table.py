"""Tables as they are given: a CSV or a data frame, with every cell as a string."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import pandas as pd

from ..errors import TableError

# what pandas.read_csv reads as missing by default (its documented list)
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
# those of a spreadsheet; each costs pandas 0.3 ms, whatever it holds
MOST_COLUMNS = 16_384
LINES_AT_A_TIME = 10_000
ENCODING = "utf-8-sig"


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        name: for messages: its path, or `data frame`.
        path: of the CSV; None for a data frame.
        frame: strings alone; a missing cell is `""`.
    """

    name: str
    path: Path | None
    frame: pd.DataFrame

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
        return ", ".join(map(repr, self.frame.columns))

    def has_line_breaks(self) -> bool:
        """Whether a cell goes on over several lines."""
        return any(bool(self.frame.iloc[:, n].str.contains("[\n\r]").any()) for n in range(self.frame.shape[1]))


TableLike = str | Path | pd.DataFrame | Table


def first_few(texts: Sequence[str]) -> str:
    """The first of many, for messages."""
    return ", ".join(map(repr, texts[:3])) + (", ..." if len(texts) > 3 else "")


def open_table(table: TableLike, key: str = "--csv") -> Table:
    """Read a table; one that was read already stays what it is.

    Args:
        table: a CSV with a header, UTF-8; compressed if its name says so (`.gz`, `.zip`, ...). Or a data frame, whose
            cells become what they would be in a CSV.
        key: the option that named it, for messages.

    Raises:
        TableError: it can't be read, or is no table.
    """
    if isinstance(table, Table):
        return table
    if isinstance(table, pd.DataFrame):
        return Table("data frame", None, _as_strings(table))
    path = local_path(table, key)
    _check_file(path, key)
    return Table(str(path), path, _read_csv(path))


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


def physical_lines(path: Path) -> Iterator[str]:
    """The lines of a CSV without their ends, each up to its first NUL.

    Raises:
        Exception: what pandas and each decompressor raise.
    """
    # pandas knows the decompressors
    with pd.read_csv(
        path,
        sep="\0",  # no text has it, and what comes after it is dropped
        quoting=csv.QUOTE_NONE,
        header=None,
        names=["line"],
        usecols=[0],
        skip_blank_lines=False,
        dtype=str,
        keep_default_na=False,
        encoding=ENCODING,
        chunksize=LINES_AT_A_TIME,
    ) as chunks:
        for chunk in chunks:
            yield from chunk["line"].fillna("")


def _check_file(path: Path, key: str) -> None:
    """A file that can be read from its beginning as often as needed; opening a pipe would wait for its writer."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; give the table as {key}") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    if S_ISDIR(mode):
        raise TableError(f"{path}: is a folder; give a CSV as {key}")
    if not S_ISREG(mode):
        raise TableError(f"{path}: is a pipe or a device, not a file; save the table as a file and give that as {key}")


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV with all columns as strings, an absent field as `""`."""
    try:
        names = _header(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=ENCODING)
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
    # pandas takes surplus leading fields of every row for an index
    if not isinstance(table.index, pd.RangeIndex):
        raise TableError(f"{path}: its rows have more fields than its header has columns ({', '.join(table.columns)})")
    if len(names) != len(table.columns):
        raise TableError(f"{path}: its header can't be read: is it one line of names, without control characters?")
    # pandas renames a repeated column without a word
    if (twice := _repeated(names)) is not None:
        raise TableError(f"{path}: column {twice!r} stands twice in the header; rename one of them")
    table.columns = pd.Index(names)
    return table.fillna("")


def _header(path: Path) -> list[str]:
    """The names of the columns; `id, title` means `id,title`.

    Raises:
        TableError: there are too many, or they are separated by something else.
    """
    lines = (f"{line}\n" for line in physical_lines(path))
    try:
        names = next((names for names in csv.reader(lines) if len(names) > 1 or "".join(names).strip()), None)
    except csv.Error as error:
        raise TableError(f"{path}: its header can't be read: {error}; the first line names the columns") from None
    if names is None:
        raise pd.errors.EmptyDataError
    if len(names) > MOST_COLUMNS:
        raise TableError(
            f"{path}: has {len(names):,} columns, and {MOST_COLUMNS:,} at most are read; leave out those that are "
            "neither id, texts nor label"
        )
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise TableError(f"{path}: its columns are not separated by commas: the header is {names[0]!r}")
    return [name.strip() for name in names]


def _repeated(names: Sequence[str]) -> str | None:
    """The first name, in their order, that stands there twice."""
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


def _as_strings(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise TableError("data frame: has no rows" if len(frame.columns) else "data frame: is empty")
    names = [str(name).strip() for name in frame.columns]
    if (twice := _repeated(names)) is not None:
        raise TableError(f"data frame: column {twice!r} stands twice; rename one of them")
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
