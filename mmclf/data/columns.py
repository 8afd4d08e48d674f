"""What the columns of a table hold: ids, texts, groups and folds, each checked as it is read."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from ..config import DataConfig
from ..errors import TableError, shown
from .picture_matching import normal_form
from .table import Table, first_few, open_table


def read_ids(table: Table, id_col: str) -> list[str]:
    """The ids of a table, unique in any Unicode normal form and not empty.

    Raises:
        TableError: they aren't, or there is no such column.
    """
    if id_col not in table.frame.columns:
        raise TableError(f"{table.name}: no id column {id_col!r}; name it by data.id_col (columns: {table.listed()})")
    ids = [str(value) for value in table.frame[id_col]]
    row_of: dict[str, int] = {}
    for row, value in enumerate(ids, start=1):
        if not value.strip():
            raise TableError(f"{table.name}: row {row}: column {id_col!r} is empty; every row needs an id")
        form = normal_form(value)
        if form in row_of:
            first = row_of[form]
            if ids[first - 1] != value:
                raise TableError(
                    f"{table.name}: rows {first} and {row} have ids that look the same, {ids[first - 1]!a:.80} and "
                    f"{value!a:.80} (two Unicode forms), and would share their pictures; rename one of them"
                )
            raise TableError(
                f"{table.name}: rows {first} and {row} have the same id {shown(value)} "
                f"({len(ids) - len(set(ids)):,} rows repeat an id); ids must be unique"
            )
        row_of[form] = row
    return ids


def id_warnings(table: str, ids: Sequence[str], pictures: Sequence[Sequence[str]]) -> Iterator[str]:
    """A sentence about ids that have no picture and spaces around them, since pictures are matched by the whole id."""
    spaced = [i for i, names in zip(ids, pictures, strict=True) if not names and i != i.strip()]
    if spaced:
        yield (
            f"{table}: {len(spaced):,} ids begin or end with a space and have no picture: {first_few(spaced)}; "
            "a picture is named by the whole id, so take the spaces out of the table"
        )


def choose_text_columns(table: Table, wanted: Sequence[str] | None, label_col: str | None) -> tuple[str, ...]:
    """The names of the text columns: those that are wanted, else `title` and `description`, else `text`.

    Args:
        table: that was read.
        wanted: names from the configuration.
        label_col: the column that is learned; None where none is.

    Raises:
        TableError: one isn't there, stands there twice, or is the label column.
    """
    if wanted is None:
        usual = [name for name in ("title", "description") if name in table.frame.columns]
        chosen = tuple(usual or [name for name in ("text",) if name in table.frame.columns])
    else:
        for name in wanted:
            table.column(name, "data.text_cols")
        chosen = tuple(wanted)
    if len(set(chosen)) < len(chosen):
        raise TableError(f"data.text_cols: found {list(chosen)}; name each column once")
    if label_col in chosen:
        others = ",".join(name for name in chosen if name != label_col)
        raise TableError(
            f"{table.name}: column {label_col!r} is both the label and a text column, so the texts would hold the "
            f"answer; set data.text_cols=[{others}], or another data.label_col"
        )
    return chosen


def read_groups(table: Table, ids: Sequence[str], config: DataConfig) -> tuple[list[str] | None, list[str]]:
    """The group of each row, None where the configuration names none; and warnings.

    Raises:
        TableError: they are named twice, or can't be read.
    """
    if config.group_col is not None and config.groups_csv is not None:
        raise TableError("data.group_col and data.groups_csv are both set; set one of them")
    warnings: list[str] = []
    if config.group_col is not None:
        groups = table.column(config.group_col, "data.group_col")
    elif config.groups_csv is not None:
        other = open_table(config.groups_csv, "data.groups_csv")
        keys = read_ids(other, config.id_col)
        of = dict(zip(map(normal_form, keys), other.column("group", "data.groups_csv"), strict=True))
        unknown = [i for i in ids if normal_form(i) not in of]
        if len(unknown) == len(ids):
            raise TableError(
                f"{other.name}: holds no id of {table.name} (its first is {shown(keys[0])}, the table's "
                f"{shown(ids[0])})"
            )
        if unknown:
            warnings.append(
                f"{other.name}: lacks {len(unknown):,} of the {len(ids):,} ids: {first_few(unknown)}; each of them is "
                "a group of its own"
            )
        groups = [of.get(normal_form(i), "") for i in ids]
    else:
        return None, []
    # the separator keeps a lone row's id apart from a group of the same name
    return [group.strip() or f"\x1f{i}" for i, group in zip(ids, groups, strict=True)], warnings


def read_folds(table: Table, fold_col: str) -> np.ndarray | None:
    """int64 (rows,): the numbers in the fold column; None where there is no such column.

    Raises:
        TableError: something else stands there.
    """
    if fold_col not in table.frame.columns:
        return None
    for row, value in enumerate(table.frame[fold_col], start=1):
        if not re.fullmatch(r"\s*\d{1,9}(\.0+)?\s*", str(value)):
            raise TableError(
                f"{table.name}: row {row}: column {fold_col!r}: {shown(value)} is not a fold number (0, 1, 2, ...)"
            )
    return np.array([int(float(value)) for value in table.frame[fold_col]], dtype=np.int64)
