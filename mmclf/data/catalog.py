"""The catalogue: a checked table of products, with the texts and the pictures of each row.

Everything that can be wrong with a table or a picture folder is found here, before any model is built.
Ids are strings from first to last: `007` stays `007`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import PictureError, shown
from .class_names import read_class_names
from .columns import choose_text_columns, id_warnings, read_folds, read_groups, read_ids
from .csv_records import record_warnings
from .labels import label_warnings, read_labels
from .picture_folder import PictureFolder, list_pictures
from .picture_matching import in_order, normal_form, possible_owners
from .rows import Rows
from .table import MISSING, TableLike, local_path, open_table


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
        class_names: what labels are called in a sentence, those that no row has included; see `data.classes_csv`.
        warnings: sentences about what can be used but not quite trusted.
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
    class_names: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def short_name(self) -> str:
        """The table by its folder and name, which tell it apart in a list of runs."""
        path = self.table_path
        return self.name if path is None else f"{path.resolve().parent.name}/{path.name}"

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
        """The distinct labels and those that have a name only, sorted; empty without labels."""
        return tuple(sorted({*self.labels, *self.class_names} if self.labels else ()))

    @property
    def classes_without_rows(self) -> tuple[str, ...]:
        """Those that have a name only, sorted."""
        return tuple(sorted(set(self.classes) - set(self.labels or ())))

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
        if self.classes_without_rows:
            counts["classes_without_rows"] = len(self.classes_without_rows)
        if self.groups is not None:
            counts["groups"] = len(set(self.groups))
        return counts


def read_catalog(table: TableLike, images: str | Path, config: DataConfig, *, training: bool) -> Catalog:
    """Read and check a table and its picture folder.

    Args:
        table: a CSV or a data frame; see `open_table`.
        images: the folder of pictures (not searched below its first level).
        config: names of the columns; `None` there means inferred.
        training: labels, groups and folds are read, and a missing label is an error.

    Rows are counted from 1, the first below the header.

    Raises:
        TableError: the table, a column or a row of it can't be used.
        PictureError: the folder doesn't exist, or no picture in it belongs to any row.
    """
    opened = open_table(table)
    root = local_path(images, "--images")
    ids = read_ids(opened, config.id_col)
    label_col, labels, groups, given_folds = None, None, None, None
    class_names: dict[str, str] = {}
    warnings: list[str] = []
    if training:
        class_names = read_class_names(config)
        label_col, labels = read_labels(opened, config.label_col)
    text_cols = choose_text_columns(opened, config.text_cols, label_col)
    fields = [opened.frame[column].tolist() for column in text_cols]
    if label_col is not None and labels is not None:
        groups, of_groups = read_groups(opened, ids, config)
        given_folds = read_folds(opened, config.fold_col)
        texts_by_column = dict(zip(text_cols, fields, strict=True))
        warnings += [*label_warnings(opened.name, label_col, labels, texts_by_column, class_names), *of_groups]
    texts = [join_text(row) for row in zip(*fields, strict=True)] if fields else [""] * len(ids)
    titles = [join_text([field]) for field in fields[0]] if len(fields) > 1 else None
    folder = list_pictures(root, follow_links=config.follow_links)
    pictures = _match(folder, ids)
    if left_out := folder.warning():
        warnings.append(left_out)
    warnings += id_warnings(opened.name, ids, pictures)
    warnings += record_warnings(opened, config.id_col, ids, label_col, labels)
    return Catalog(
        rows=Rows(ids, texts, pictures, root, titles),
        name=opened.name,
        table_path=opened.path,
        id_col=config.id_col,
        label_col=label_col,
        text_cols=text_cols,
        labels=labels,
        groups=groups,
        given_folds=given_folds,
        class_names=class_names,
        warnings=tuple(warnings),
    )


def join_text(fields: Sequence[str | float | None]) -> str:
    """Strip each field, drop the missing and the empty ones, join the rest by one space."""
    stripped = (field.strip() for field in fields if isinstance(field, str))
    return " ".join(field for field in stripped if field not in MISSING)


def match_pictures(root: Path, ids: Sequence[str], *, follow_links: bool = False) -> list[tuple[str, ...]]:
    """Find the pictures of each id: `<id>.jpg/.png/.jpeg/.webp`, then `<id>_*` with any image suffix.

    The folder is listed once, so that an id can't name a file outside it. A file belongs to the longest id
    that fits: with ids `A` and `A_1`, `A_1.jpg` is a picture of `A_1` only. Suffixes match in either case,
    names in any Unicode normal form; `_2` comes before `_10`.

    Raises:
        PictureError: no such folder, or not one file in it belongs to an id.
    """
    return _match(list_pictures(root, follow_links=follow_links), ids)


def _match(folder: PictureFolder, ids: Sequence[str]) -> list[tuple[str, ...]]:
    root = folder.root
    known = {normal_form(i) for i in ids}
    found: dict[str, list[str]] = {}
    for name in folder.names:
        owner = next((owner for owner in possible_owners(name) if owner in known), None)
        if owner is not None:
            found.setdefault(owner, []).append(name)
    if not folder.names:
        raise PictureError(
            folder.warning()
            or f"{root}: holds no picture; the pictures lie in the folder itself, not in folders below it"
        )
    if not found and ids:
        raise PictureError(
            f"{root}: none of its {len(folder.names):,} pictures belongs to a row; a picture is named <id>.jpg (.png, "
            f".jpeg, .webp) or <id>_1.jpg, and the first id of the table is {shown(ids[0])}, the first picture "
            f"{min(folder.names)!r}"
        )
    return [tuple(in_order(normal_form(i), found.get(normal_form(i), []))) for i in ids]


def digest_rows(rows: Iterator[str]) -> str:
    """First 16 hex digits of the SHA-256 over a set of strings, whatever their order."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(row.encode("utf-8", "surrogatepass") + b"\x1e")
    return digest.hexdigest()[:16]
