"""The catalogue: a checked table of products, with the texts and the pictures of each row.

Everything that can be wrong with a table or a picture folder is found here, before any model is built.
Ids are strings from first to last: `007` stays `007`.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import DataConfig
from ..errors import PictureError, TableError
from .picture_matching import in_order, is_picture, normal_form, possible_owners
from .rows import Rows

# what pandas.read_csv reads as missing by default (its documented list); in texts only: "NA" is a fine id
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)


@dataclass(frozen=True)
class Catalog:
    """A table of products that was read and checked.

    Attributes:
        rows: ids, texts (the text fields joined by one space) and picture files, in the order of the table.
        name: of the table, for people.
        table_path: the CSV; None where the table was a data frame.
        id_col: name of the id column.
        label_col: name of the label column, None where the table was read without labels.
        text_cols: names of the text columns, in the order they were joined.
        labels: label of each row, None without labels.
        groups: group of each row, None without groups. A row without a group is a group of its own.
        given_folds: int64 array of the fold column, None where the table has no such column.
    """

    rows: Rows
    name: str
    table_path: Path | None
    id_col: str
    label_col: str | None
    text_cols: tuple[str, ...]
    labels: list[str] | None = None
    groups: list[str] | None = None
    given_folds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[str]:
        """Of the rows; unique strings."""
        return self.rows.ids

    @property
    def image_root(self) -> Path:
        """The folder of the pictures."""
        return Path(str(self.rows.picture_source))

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels, sorted; empty without labels."""
        return tuple(sorted(set(self.labels or ())))

    def targets(self, classes: Sequence[str]) -> np.ndarray:
        """int64 array (rows,): position of each row's label in `classes`."""
        position = {name: i for i, name in enumerate(classes)}
        return np.array([position[label] for label in self.labels or ()], dtype=np.int64)

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 over ids, texts, picture names and labels (not their order)."""
        rows = self.rows
        fields = zip(rows.ids, rows.texts, rows.pictures, self.labels or [""] * len(self), strict=True)
        return digest_rows(("\x1f".join((i, t, *p, label)) for i, t, p, label in fields))

    def summary(self) -> dict[str, int]:
        """Counts that a user wants to see before training."""
        counts = {
            "rows": len(self),
            "pictures": sum(len(p) for p in self.rows.pictures),
            "rows_without_picture": sum(not p for p in self.rows.pictures),
            "rows_with_several_pictures": sum(len(p) > 1 for p in self.rows.pictures),
            "rows_without_text": sum(not t for t in self.rows.texts),
        }
        if self.labels is not None:
            counts["classes"] = len(self.classes)
        if self.groups is not None:
            counts["groups"] = len(set(self.groups))
        return counts


def read_catalog(
    table: str | Path | pd.DataFrame, images: str | Path, config: DataConfig, *, training: bool
) -> Catalog:
    """Read and check a table and its picture folder.

    Args:
        table: a CSV with a header, UTF-8; compressed if its name says so (`.gz`, `.zip`, ...). Or a data frame, whose
            cells are read as the same table would be from a CSV: as strings, missing ones as empty.
        images: the folder of pictures (not searched below its first level).
        config: names of the columns; `None` there means inferred.
        training: labels, groups and folds are read, and a missing label is an error.

    Rows are counted from 1, the first below the header.

    Raises:
        TableError: the table, a column or a row of it can't be used.
        PictureError: the folder doesn't exist, or no picture in it belongs to any row.
    """
    if isinstance(table, pd.DataFrame):
        path, place = None, Path("data frame")
        frame = _as_strings(table)
    else:
        path = place = local_path(table, "--csv")
        frame = read_table(place)
    root = local_path(images, "--images")
    ids = _read_ids(place, frame, config.id_col)
    text_cols = _text_columns(place, frame, config.text_cols)
    fields = [frame[column].tolist() for column in text_cols]
    label_col, labels, groups, given_folds = None, None, None, None
    if training:
        label_col, labels = _read_labels(place, frame, config.label_col)
        groups = _read_groups(place, frame, ids, config)
        given_folds = _read_folds(place, frame, config.fold_col)
    texts = [join_text(row) for row in zip(*fields, strict=True)] if fields else [""] * len(ids)
    return Catalog(
        rows=Rows(ids, texts, match_pictures(root, ids), root),
        name=str(place),
        table_path=path,
        id_col=config.id_col,
        label_col=label_col,
        text_cols=text_cols,
        labels=labels,
        groups=groups,
        given_folds=given_folds,
    )


def local_path(address: str | Path, option: str) -> Path:
    """A path on this machine.

    Raises:
        TableError: it is the address of something elsewhere, such as `s3://...`.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", str(address)):
        raise TableError(
            f"{option}: {address}: is not on this machine, and only `batch` reads such addresses; copy it here"
        )
    return Path(address)


def join_text(fields: Sequence[str | float | None]) -> str:
    """Strip each field, drop the missing and the empty ones, join the rest by one space."""
    stripped = (field.strip() for field in fields if isinstance(field, str))
    return " ".join(field for field in stripped if field not in MISSING)


def match_pictures(root: Path, ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Find the pictures of each id: `<id>.jpg/.png/.jpeg/.webp`, then `<id>_*` with any image suffix.

    The folder is listed once, so that an id can't name a file outside it. A file belongs to the longest id
    that fits: with ids `A` and `A_1`, `A_1.jpg` is a picture of `A_1` only. Suffixes match in either case,
    names in any Unicode normal form; `_2` comes before `_10`.

    Raises:
        PictureError: no such folder, or not one file in it belongs to an id.
    """
    try:
        names = [entry.name for entry in os.scandir(root) if entry.is_file()]
    except FileNotFoundError:
        raise PictureError(f"{root}: no such folder; give the folder of pictures as --images") from None
    except NotADirectoryError:
        raise PictureError(f"{root}: is a file, not a folder of pictures") from None
    except OSError as error:
        raise PictureError(f"{root}: can't be listed: {error.strerror}") from None
    known = {normal_form(i) for i in ids}
    found: dict[str, list[str]] = {}
    pictures = []
    for name in names:
        if not is_picture(name):
            continue
        pictures.append(name)
        owner = next((owner for owner in possible_owners(name) if owner in known), None)
        if owner is not None:
            found.setdefault(owner, []).append(name)
    if not pictures:
        raise PictureError(f"{root}: holds no picture; the pictures lie in the folder itself, not in folders below it")
    if not found and ids:
        raise PictureError(
            f"{root}: none of its {len(pictures):,} pictures belongs to a row; a picture is named <id>.jpg (.png, "
            f".jpeg, .webp) or <id>_1.jpg, and the first id of the table is {ids[0]!r}, the first picture "
            f"{min(pictures)!r}"
        )
    return [tuple(in_order(normal_form(i), found.get(normal_form(i), []))) for i in ids]


def digest_rows(rows: Iterator[str]) -> str:
    """First 16 hex digits of the SHA-256 over a set of strings, whatever their order."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(row.encode("utf-8", "surrogatepass") + b"\x1e")
    return digest.hexdigest()[:16]


def read_table(path: Path, key: str = "--csv") -> pd.DataFrame:
    """A CSV with all columns as strings, an absent field as `""`.

    Raises:
        TableError: it can't be read, or is no table.
    """
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
    """A data frame as it would be read from a CSV."""
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


def _column(path: Path, table: pd.DataFrame, name: str, key: str) -> list[str]:
    if name not in table.columns:
        raise TableError(f"{path}: no column {name!r} ({key}); it has {', '.join(map(repr, table.columns))}")
    return [str(value) for value in table[name]]


def _read_ids(path: Path, table: pd.DataFrame, id_col: str) -> list[str]:
    if id_col not in table.columns:
        columns = ", ".join(map(repr, table.columns))
        raise TableError(f"{path}: no id column {id_col!r}; name it by data.id_col (columns: {columns})")
    ids = [str(value) for value in table[id_col]]
    row_of: dict[str, int] = {}
    for row, value in enumerate(ids, start=1):
        if not value.strip():
            raise TableError(f"{path}: row {row}: column {id_col!r} is empty; every row needs an id")
        if value in row_of:
            raise TableError(
                f"{path}: rows {row_of[value]} and {row} have the same id {value!r} "
                f"({len(ids) - len(set(ids)):,} rows repeat an id); ids must be unique"
            )
        row_of[value] = row
    return ids


def _text_columns(path: Path, table: pd.DataFrame, wanted: list[str] | None) -> tuple[str, ...]:
    if wanted is None:
        usual = [name for name in ("title", "description") if name in table.columns]
        return tuple(usual or [name for name in ("text",) if name in table.columns])
    for name in wanted:
        _column(path, table, name, "data.text_cols")
    return tuple(wanted)


def _read_labels(path: Path, table: pd.DataFrame, wanted: str | None) -> tuple[str, list[str]]:
    name = wanted or next((c for c in ("categories", "label") if c in table.columns), None)
    if name is None:
        raise TableError(
            f"{path}: no label column 'categories' or 'label' to train on; name it by data.label_col "
            f"(columns: {', '.join(map(repr, table.columns))})"
        )
    labels = [label.strip() for label in _column(path, table, name, "data.label_col")]
    empty = [row for row, label in enumerate(labels, start=1) if not label]
    if empty:
        raise TableError(
            f"{path}: row {empty[0]}: column {name!r} is empty ({len(empty):,} such rows); "
            "label these rows or leave them out"
        )
    if len(set(labels)) < 2:
        raise TableError(f"{path}: column {name!r} holds only {labels[0]!r}; a classifier needs two classes or more")
    return name, labels


def _read_groups(path: Path, table: pd.DataFrame, ids: list[str], config: DataConfig) -> list[str] | None:
    if config.group_col is not None and config.groups_csv is not None:
        raise TableError("data.group_col and data.groups_csv are both set; set one of them")
    if config.group_col is not None:
        groups = _column(path, table, config.group_col, "data.group_col")
    elif config.groups_csv is not None:
        other = Path(config.groups_csv)
        found = read_table(other, "data.groups_csv")
        keys = _read_ids(other, found, config.id_col)
        of = dict(zip(keys, _column(other, found, "group", "data.groups_csv"), strict=True))
        if not any(i in of for i in ids):
            raise TableError(f"{other}: holds no id of {path} (its first is {keys[0]!r}, the table's {ids[0]!r})")
        groups = [of.get(i, "") for i in ids]
    else:
        return None
    # the separator keeps a lone row's id apart from a group of the same name
    return [group.strip() or f"\x1f{i}" for i, group in zip(ids, groups, strict=True)]


def _read_folds(path: Path, table: pd.DataFrame, fold_col: str) -> np.ndarray | None:
    if fold_col not in table.columns:
        return None
    for row, value in enumerate(table[fold_col], start=1):
        if not re.fullmatch(r"\s*\d{1,9}(\.0+)?\s*", str(value)):
            raise TableError(f"{path}: row {row}: column {fold_col!r}: {value!r} is not a fold number (0, 1, 2, ...)")
    return np.array([int(float(value)) for value in table[fold_col]], dtype=np.int64)
