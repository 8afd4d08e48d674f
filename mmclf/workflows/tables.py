"""Tables and pictures as the jobs take them: read, checked, cut into folds, and summed up in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..config import Config, DataConfig
from ..data.catalog import Catalog, local_path, match_pictures, read_catalog
from ..data.catalog import read_table as read_csv
from ..errors import FoldError, TableError
from ..runtime.progress import say

if TYPE_CHECKING:
    from ..data.folds import Split

Table = str | Path | pd.DataFrame


def read_split(table: Table, images: str | Path, config: Config, *, quiet: bool = False) -> "Split":
    """Read a table to train on and cut its folds; say what was found, unless `quiet`.

    Raises:
        TableError, PictureError, FoldError: it can't be used.
    """
    catalog = read_catalog(table, images, config.data, training=True)
    from ..data.folds import Split, assign_folds, fold_warnings  # scikit-learn takes a second

    split = Split(catalog, assign_folds(catalog, config.train.folds, config.train.seed))
    if not quiet:
        _say_found(catalog)
        for warning in fold_warnings(catalog, split.folds):
            say(f"warning: {warning}")
    return split


def choose_folds(split: "Split", fold: int | None) -> list[int]:
    """The folds to run: all, or the one that is wanted.

    Raises:
        FoldError: there is no such fold.
    """
    if fold is None:
        return split.numbers
    if fold not in split.numbers:
        raise FoldError(f"--fold: there is no fold {fold}; the folds are {', '.join(map(str, split.numbers))}")
    return [fold]


def check_readable(table: Table, images: str | Path) -> None:
    """Find what is wrong with a table and a folder of pictures without knowing the names of the columns.

    Raises:
        TableError, PictureError: they can't be read.
    """
    if not isinstance(table, pd.DataFrame):
        read_csv(local_path(table, "--csv"))
    match_pictures(local_path(images, "--images"), [])


def read_rows(table: Table, images: str | Path, data: DataConfig, text_cols: Sequence[str]) -> Catalog:
    """Read a table that is scored, with these text columns, and say what was found.

    Raises:
        TableError, PictureError: it can't be used.
    """
    catalog = read_catalog(table, images, data.model_copy(update={"text_cols": list(text_cols)}), training=False)
    _say_found(catalog)
    return catalog


def read_labels(table: Table, id_col: str, label_col: str) -> dict[str, str]:
    """The label of each id.

    Args:
        table: a CSV or a data frame.
        id_col: name of its id column.
        label_col: name of its label column; else `categories` or `label`.

    Raises:
        TableError: it can't be read, or lacks one of the columns.
    """
    place = "labels" if isinstance(table, pd.DataFrame) else str(table)
    frame = table.fillna("") if isinstance(table, pd.DataFrame) else read_csv(local_path(table, "labels"), "labels")
    name = next((column for column in (label_col, "categories", "label") if column in frame.columns), None)
    if name is None or id_col not in frame.columns:
        raise TableError(
            f"{place}: needs the columns {id_col!r} and {label_col!r}; it has {', '.join(map(repr, frame.columns))}"
        )
    found = zip(frame[id_col], frame[name], strict=True)
    return {str(i): str(label).strip() for i, label in found if str(label).strip()}


def _say_found(catalog: Catalog) -> None:
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in catalog.summary().items())
    say(f"{catalog.name}: {counts}")


def say_unreadable(examples: Sequence[str], count: int) -> None:
    """Name the first few of the pictures that were replaced by the placeholder."""
    if count:
        more = f" and {count - 3:,} more" if count > 3 else ""
        say(f"warning: {count:,} unreadable pictures became black: {'; '.join(examples[:3])}{more}")


def say_truncated(truncated: int, rows: int, max_len: int) -> None:
    """Say how many texts were cut, if any."""
    if truncated:
        say(f"note: {truncated / rows:.1%} of the texts are longer than {max_len} tokens and are cut there")
