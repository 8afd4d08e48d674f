"""Tables as they are given: a CSV or a data frame, with every cell as a string."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import TableError


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


TableLike = str | Path | pd.DataFrame | Table


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
    return Table(str(path), path, _read_csv(path, key))


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


def _read_csv(path: Path, key: str) -> pd.DataFrame:
    """A CSV with all columns as strings, an absent field as `""`."""
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        names = header.iloc[0].tolist()
        if len(names) == 1 and re.search(r"[;\t|]", names[0]):
            raise TableError(f"{path}: its columns are not separated by commas: the header is {names[0]!r}")
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except TableError:
        raise
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; give the table as {key}") from None
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
    # `id, title` means `id,title`
    names = [name.strip() for name in names]
    # pandas renames a repeated column without a word
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{path}: column {twice[0]!r} stands twice in the header; rename one of them")
    table.columns = pd.Index(names)
    return table.fillna("")


def _as_strings(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise TableError("data frame: has no rows" if len(frame.columns) else "data frame: is empty")
    names = [str(name).strip() for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"data frame: column {twice[0]!r} stands twice; rename one of them")
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
