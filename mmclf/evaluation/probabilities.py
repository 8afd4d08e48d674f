"""Probability tables: row id x class, out of fold or predicted; reading, writing, averaging."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EnsembleError
from ..store.files import atomic_path

METADATA = b"mmclf"
UNASSIGNED = "unassigned"  # label of a row that is less sure than was asked for


@dataclass(frozen=True)
class ProbabilityTable:
    """Probabilities of rows, with fold and label where they are out of fold.

    Attributes:
        ids: of the rows, unique.
        classes: of the columns.
        probabilities: float32 (rows, classes).
        folds: int64 (rows,), the fold that held each row out; None for predictions.
        labels: true label of each row; None for predictions.
    """

    ids: list[str]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    folds: np.ndarray | None = None
    labels: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def targets(self) -> np.ndarray:
        """int64 (rows,): position of each label in `classes`."""
        position = {name: i for i, name in enumerate(self.classes)}
        return np.array([position[label] for label in self.labels or ()], dtype=np.int64)

    def write(self, path: Path) -> None:
        """Write parquet: id, fold and label where known, one float32 column a class; atomically.

        A class that is called like one of the first columns, or starts with `class:`, gets `class:` before its
        name. The schema's metadata hold the classes in their order.
        """
        with atomic_path(path) as draft:
            pq.write_table(self._to_arrow(), draft)

    def _to_arrow(self) -> pa.Table:
        columns: dict[str, pa.Array] = {"id": pa.array(self.ids, pa.string())}
        if self.folds is not None:
            columns["fold"] = pa.array(self.folds, pa.int64())
        if self.labels is not None:
            columns["label"] = pa.array(self.labels, pa.string())
        for number, name in enumerate(self.classes):
            column = pa.array(np.ascontiguousarray(self.probabilities[:, number], dtype=np.float32))
            taken = name in ("id", "fold", "label") or name.startswith("class:")
            columns[f"class:{name}" if taken else name] = column
        return pa.table(columns).replace_schema_metadata({METADATA: json.dumps({"classes": self.classes})})


@contextlib.contextmanager
def write_parts(
    probabilities: Path, submission: Path, id_col: str, label_col: str, least: float = 0.0
) -> Iterator[Callable[[ProbabilityTable], None]]:
    """Write predictions part by part, in memory that doesn't grow with their number.

    Args:
        probabilities: parquet, as `ProbabilityTable.write` makes it, with a row group for each part.
        submission: CSV with the id and the most probable class of each row.
        id_col: name of its first column.
        label_col: name of its second one.
        least: the confidence below which a row is UNASSIGNED in the CSV.

    Yields:
        What to call with each part; at least once. Both files appear when the block ends well.
    """
    with (
        atomic_path(probabilities) as parquet_draft,
        atomic_path(submission) as csv_draft,
        csv_draft.open("w", newline="", encoding="utf-8") as csv_file,
        contextlib.ExitStack() as stack,
    ):
        rows = csv.writer(csv_file, lineterminator="\n")
        rows.writerow([id_col, label_col])
        writer: pq.ParquetWriter | None = None

        def write(part: ProbabilityTable) -> None:
            nonlocal writer
            table = part._to_arrow()
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(parquet_draft, table.schema))
            writer.write_table(table)
            sure = part.probabilities.max(axis=1) >= least
            labels = [name if each else UNASSIGNED for name, each in zip(best_classes(part), sure, strict=True)]
            rows.writerows(zip(part.ids, labels, strict=True))

        yield write


def best_classes(table: ProbabilityTable) -> list[str]:
    """The most probable class of each row."""
    return [table.classes[column] for column in table.probabilities.argmax(axis=1)]


def read_table(path: Path) -> ProbabilityTable:
    """Read what `ProbabilityTable.write` wrote.

    Raises:
        EnsembleError: the file is missing, damaged, or something else.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise EnsembleError(f"{path}: no such file; give a probabilities.parquet that infer wrote") from None
    except (OSError, pa.ArrowException) as error:
        raise EnsembleError(f"{path}: not a probability table of mmclf, or damaged: {error}") from None
    metadata = table.schema.metadata or {}
    if METADATA not in metadata:
        raise EnsembleError(f"{path}: not a probability table of mmclf: a parquet file without its list of classes")
    classes = tuple(json.loads(metadata[METADATA])["classes"])
    names = table.column_names
    return ProbabilityTable(
        ids=table["id"].to_pylist(),
        classes=classes,
        probabilities=np.column_stack(
            [table.column(i).to_numpy() for i in range(len(names) - len(classes), len(names))]
        ),
        folds=table["fold"].to_numpy() if "fold" in names[:2] else None,
        labels=table["label"].to_pylist() if "label" in names[:3] else None,
    )


def join_folds(tables: Sequence[ProbabilityTable], order: Sequence[str]) -> ProbabilityTable:
    """The out-of-fold matrix: the rows of all folds, in the order of `order` (ids without a fold are left out)."""
    row_of = {i: row for row, i in enumerate(i for table in tables for i in table.ids)}
    rows = [row_of[i] for i in order if i in row_of]
    labels = [label for table in tables for label in table.labels or ()]
    return ProbabilityTable(
        ids=[i for i in order if i in row_of],
        classes=tables[0].classes,
        probabilities=np.concatenate([table.probabilities for table in tables])[rows],
        folds=np.concatenate([table.folds for table in tables if table.folds is not None])[rows],
        labels=[labels[row] for row in rows],
    )


def align(table: ProbabilityTable, like: ProbabilityTable) -> ProbabilityTable:
    """A table in the order of rows and classes of another one of the same rows and classes.

    Its folds and labels stay its own.
    """
    row_of = {i: row for row, i in enumerate(table.ids)}
    column_of = {name: column for column, name in enumerate(table.classes)}
    rows = [row_of[i] for i in like.ids]
    return ProbabilityTable(
        like.ids,
        like.classes,
        table.probabilities[rows][:, [column_of[name] for name in like.classes]],
        None if table.folds is None else table.folds[rows],
        None if table.labels is None else [table.labels[row] for row in rows],
    )


def merge_classes(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The classes of several lists: in their order where they are the same, else sorted."""
    return lists[0] if len(set(lists)) == 1 else tuple(sorted({name for each in lists for name in each}))


def spread(table: ProbabilityTable, classes: Sequence[str]) -> np.ndarray:
    """Its probabilities as float64 (rows, classes), nan in the columns of classes that it doesn't know."""
    column_of = {name: column for column, name in enumerate(classes)}
    found = np.full((len(table), len(classes)), np.nan)
    found[:, [column_of[name] for name in table.classes]] = table.probabilities
    return found


def average(
    tables: Sequence[ProbabilityTable], weights: Sequence[float] | None, names: Sequence[str]
) -> ProbabilityTable:
    """Weighted mean of tables over the same rows and classes, in the row order of the first.

    Args:
        tables: at least one.
        weights: one per table, not negative, not all zero; None for equal ones. They are divided by their sum.
        names: of the tables, for messages.

    Raises:
        EnsembleError: other rows, other classes, or weights that don't fit.
    """
    weights = list(weights) if weights is not None else [1.0] * len(tables)
    if len(weights) != len(tables):
        raise EnsembleError(f"weights: found {len(weights)} for {len(tables)} runs; give one weight a run")
    if min(weights) < 0 or not np.isfinite(sum(weights)) or sum(weights) == 0:
        raise EnsembleError(f"weights: found {weights}; they can't be negative, infinite or all zero")
    first = tables[0]
    total = np.zeros(first.probabilities.shape, dtype=np.float64)
    for table, weight, name in zip(tables, weights, names, strict=True):
        if set(table.classes) != set(first.classes):
            differing = sorted(set(table.classes) ^ set(first.classes))
            raise EnsembleError(f"{name}: its classes differ from those of {names[0]}: {', '.join(differing[:5])}")
        if set(table.ids) != set(first.ids):
            differing = sorted(set(table.ids) ^ set(first.ids))
            raise EnsembleError(
                f"{name}: scored other rows than {names[0]} ({len(table):,} and {len(first):,}; {len(differing):,} "
                f"ids in one only, for example {differing[0]!r}); score the same table with both"
            )
        total += weight / sum(weights) * align(table, first).probabilities
    return ProbabilityTable(first.ids, first.classes, total.astype(np.float32))
