"""Tables and pictures as the jobs take them: read, checked, cut into folds, and summed up in one line."""

from collections.abc import Sequence
from pathlib import Path

from ..config import Config, DataConfig
from ..data.catalog import Catalog, match_pictures, read_catalog
from ..data.columns import read_groups, read_ids
from ..data.folds import Split, assign_folds, fold_warnings
from ..data.table import Table, TableLike, local_path, open_table
from ..errors import FoldError, TableError
from ..runtime.progress import say


def read_split(
    table: TableLike, images: str | Path, config: Config, *, quiet: bool = False, doubts: bool = False
) -> Split:
    """Read a table to train on and cut its folds; say what was found, unless `quiet`.

    Args:
        table: see `open_table`.
        images: the folder of pictures.
        config: resolved.
        quiet: in a process that isn't the first of several.
        doubts: say too what `check` would find in the table alone.

    Raises:
        TableError, PictureError, FoldError: it can't be used.
    """
    catalog = read_catalog(table, images, config.data, training=True)
    split = Split(catalog, assign_folds(catalog, config.train.folds, config.train.seed))
    if not quiet:
        _say_found(catalog, fold_warnings(catalog, split.folds))
    if doubts:
        from ..checking.brief import doubts as doubts_about

        for sentence in doubts_about(split, config):
            say(f"warning: {sentence}")
    return split


def choose_folds(split: Split, fold: int | None) -> list[int]:
    """The folds to run: all, or the one that is wanted.

    Raises:
        FoldError: there is no such fold.
    """
    if fold is None:
        return split.numbers
    if fold not in split.numbers:
        raise FoldError(f"--fold: there is no fold {fold}; the folds are {', '.join(map(str, split.numbers))}")
    return [fold]


def open_readable(table: TableLike, images: str | Path) -> Table:
    """Read a table, and find what is wrong with its folder of pictures, without knowing the names of the columns.

    Raises:
        TableError, PictureError: they can't be read.
    """
    opened = open_table(table)
    match_pictures(local_path(images, "--images"), [], follow_links=True)  # whether they may be is known later
    return opened


def read_rows(table: TableLike, images: str | Path, data: DataConfig, text_cols: Sequence[str]) -> Catalog:
    """Read a table that is scored, with these text columns, and say what was found.

    Raises:
        TableError, PictureError: it can't be used.
    """
    catalog = read_catalog(table, images, data.model_copy(update={"text_cols": list(text_cols)}), training=False)
    _say_found(catalog)
    return catalog


def read_trained(csv: str, images: str, digest: str, data: DataConfig) -> Catalog:
    """Read the table that a run was trained on again.

    Args:
        csv: its path.
        images: the folder of its pictures.
        digest: that the run recorded.
        data: of the run's configuration.

    Raises:
        TableError: it isn't there any more, or has changed.
        PictureError: nor are its pictures.
    """
    found = read_catalog(Path(csv), images, data, training=True)
    if found.digest() != digest:
        raise TableError(f"{csv} has changed since the run")
    return found


def groups_of(table: Table, ids: Sequence[str], data: DataConfig) -> list[str] | None:
    """The group of each row of a table that is scored; None where the table has none, or they can't be read."""
    if data.group_col not in table.frame.columns:
        data = data.model_copy(update={"group_col": None})
    try:
        return read_groups(table, ids, data)[0]
    except TableError as error:
        say(f"note: each row counts alone in the intervals: {error}")
        return None


def find_label_column(table: Table, wanted: str, texts: Sequence[str]) -> str | None:
    """The name of the column with the labels of a table that is scored: `wanted`, else `categories` or `label`.

    Args:
        table: that was read.
        wanted: as the model calls it.
        texts: the text columns, none of which it can be.
    """
    names = (name for name in (wanted, "categories", "label") if name not in texts)
    return next((name for name in names if name in table.frame.columns), None)


def read_labels(table: TableLike, id_col: str, label_col: str) -> dict[str, str]:
    """The label of each id; an id without one is left out.

    Args:
        table: a CSV or a data frame.
        id_col: name of its id column.
        label_col: name of its label column; else `categories` or `label`.

    Raises:
        TableError: it can't be read, or lacks one of the columns.
    """
    opened = open_table(table, "labels")
    name = find_label_column(opened, label_col, ())
    if name is None or id_col not in opened.frame.columns:
        raise TableError(f"{opened.name}: needs the columns {id_col!r} and {label_col!r}; it has {opened.listed()}")
    ids, labels = read_ids(opened, id_col), opened.column(name, "labels")
    return {i: label.strip() for i, label in zip(ids, labels, strict=True) if label.strip()}


def _say_found(catalog: Catalog, of_folds: Sequence[str] = ()) -> None:
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in catalog.summary().items())
    say(f"{catalog.name}: {counts}")
    for warning in (*catalog.warnings, *of_folds):
        say(f"warning: {warning}")


def say_unreadable(examples: Sequence[str], count: int) -> None:
    """Name the first few of the pictures that were replaced by the placeholder."""
    if count:
        more = f" and {count - 3:,} more" if count > 3 else ""
        say(f"warning: {count:,} unreadable pictures became black: {'; '.join(examples[:3])}{more}")


def say_truncated(truncated: int, rows: int, max_len: int) -> None:
    """Say how many texts were cut, if any."""
    if truncated:
        say(f"note: {truncated / rows:.1%} of the texts are longer than {max_len} tokens and are cut there")
