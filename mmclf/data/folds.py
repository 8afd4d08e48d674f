"""The folds: which rows validate which model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config import MOST_FOLDS
from ..errors import FoldError, shown
from .catalog import Catalog, digest_rows


@dataclass(frozen=True)
class Split:
    """A catalogue cut into folds.

    Attributes:
        catalog: with labels.
        folds: int64 (rows,), fold of each row.
    """

    catalog: Catalog
    folds: np.ndarray

    @property
    def numbers(self) -> list[int]:
        """Of the folds, ascending."""
        return [int(number) for number in np.unique(self.folds)]

    def train_rows(self, fold: int) -> np.ndarray:
        """int64, positions of the rows that this fold's model is trained on."""
        return np.flatnonzero(self.folds != fold)

    def held_out(self, fold: int) -> np.ndarray:
        """int64, positions of the rows that this fold's model is validated on."""
        return np.flatnonzero(self.folds == fold)

    def digest(self) -> str:
        """Equal where the same rows with the same labels lie in the same folds."""
        return split_digest(self.catalog.ids, self.catalog.labels or [], self.folds)


def assign_folds(catalog: Catalog, count: int, seed: int) -> np.ndarray:
    """Fold of each row: the table's own fold column, else stratified by label and kept whole by group.

    The split depends on the ids, labels, groups, `count` and `seed`, not on the order of the rows.

    Args:
        catalog: with labels.
        count: number of folds; ignored where the table has a fold column.
        seed: of the shuffle.

    Returns:
        int64 array (rows,).

    Raises:
        FoldError: a class has fewer rows than there are folds, there are fewer groups than folds, or a given
            fold column has fewer than two folds or more than a hundred, or leaves a class without training rows in one
            of them.
    """
    labels = list(catalog.labels or ())
    if catalog.given_folds is not None:
        _check_given(catalog, catalog.given_folds, labels)
        return catalog.given_folds
    rows_of = Counter(labels)
    short = sorted((n, name) for name, n in rows_of.items() if n < count)
    if short:
        listed = ", ".join(f"{shown(name)} ({n})" for n, name in short[:5]) + (", ..." if len(short) > 5 else "")
        fewer = f"set train.folds={short[0][0]}, " if short[0][0] > 1 else ""
        raise FoldError(
            f"{catalog.name}: {len(short)} of {len(rows_of)} classes have fewer rows than the {count} folds: "
            f"{listed}; {fewer}add rows, or merge or leave out these classes"
        )
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # takes a second; mistakes come before

    # rows in the order of their ids, so that a reshuffled table gives the same folds
    order = sorted(range(len(labels)), key=lambda row: catalog.ids[row])
    ordered = [labels[row] for row in order]
    split: StratifiedKFold | StratifiedGroupKFold
    if catalog.groups is None:
        split = StratifiedKFold(count, shuffle=True, random_state=seed)
        parts = split.split(ordered, ordered)
    else:
        groups = [catalog.groups[row] for row in order]
        if len(set(groups)) < count:
            raise FoldError(
                f"{catalog.name}: {len(set(groups))} groups can't make {count} folds, since a group lies in one "
                "fold; set train.folds, or another data.group_col or data.groups_csv"
            )
        split = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = split.split(ordered, ordered, groups)
    folds = np.empty(len(labels), dtype=np.int64)
    for fold, (_, held_out) in enumerate(parts):
        folds[np.asarray(order)[held_out]] = fold
    return folds


def split_digest(ids: Sequence[str], labels: Sequence[str], folds: np.ndarray) -> str:
    """16 hex digits that are equal when the same rows with the same labels lie in the same folds.

    A stage-2 fold may start from a stage-1 fold only then: else the head has seen its validation rows.
    """
    return digest_rows(f"{i}\x1f{label}\x1f{fold}" for i, label, fold in zip(ids, labels, folds, strict=True))


def fold_warnings(catalog: Catalog, folds: np.ndarray) -> list[str]:
    """Sentences about a split that can be trained on but not quite trusted."""
    found = []
    folds_of: dict[str, set[int]] = {name: set() for name in catalog.classes}
    for label, fold in zip(catalog.labels or (), folds.tolist(), strict=True):
        folds_of[label].add(fold)
    unseen = [name for name, numbers in folds_of.items() if len(numbers) == 1]
    if unseen:
        found.append(
            f"{len(unseen)} classes lie in one fold only (each is one group): {', '.join(map(shown, unseen[:5]))}; "
            "that fold's model never sees them in training"
        )
    labelled = [numbers for numbers in folds_of.values() if numbers]
    sparse = [number for number in np.unique(folds) if any(number not in numbers for numbers in labelled)]
    if sparse:
        found.append(
            f"folds {', '.join(map(str, sparse))} validate without a row of some classes; their top-1 isn't "
            "quite comparable"
        )
    if catalog.groups is not None and catalog.given_folds is not None:
        seen: dict[str, int] = {}
        split = {g for g, f in zip(catalog.groups, folds, strict=True) if seen.setdefault(g, f) != f}
        if split:
            found.append(
                f"the given folds split {len(split)} groups, for example {shown(min(split))}: validation leaks"
            )
    return found


def _check_given(catalog: Catalog, folds: np.ndarray, labels: list[str]) -> None:
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise FoldError(
            f"{catalog.name}: its fold column holds only fold {numbers[0]}; cross-validation needs two or more "
            "(another data.fold_col has the folds drawn)"
        )
    if len(numbers) > MOST_FOLDS:
        raise FoldError(
            f"{catalog.name}: its fold column holds {len(numbers):,} folds, and each is a model; {MOST_FOLDS} at most "
            "(another data.fold_col has the folds drawn)"
        )
    names = np.array(labels, dtype=object)
    for fold in numbers:
        missing = sorted(set(labels) - set(names[folds != fold]))
        if missing:
            raise FoldError(
                f"{catalog.name}: its fold column puts every row of class {shown(missing[0])} in fold {fold}, "
                "so that fold's model can't learn it; spread its rows over the folds"
            )
