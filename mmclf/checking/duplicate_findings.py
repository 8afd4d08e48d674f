"""Findings about duplicates: what leaks across folds, and from the training rows into the test."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .finding import Finding, Level, Subject, counted, share_of

# share of the rows that leak from which on figures can't be trusted, and from which on they are doubtful
WRONG, DOUBTFUL = 0.05, 0.02
# the same of the rows of the test
TEST_DOUBTFUL = 0.02


@dataclass(frozen=True)
class Leak:
    """Rows that a model is validated on and was trained on a duplicate of.

    Attributes:
        pictures, texts, groups: how many, by the same picture, the same text, and one or the other.
        rows: of the catalogue.
    """

    pictures: int
    texts: int
    groups: int
    rows: int

    @property
    def share(self) -> float:
        """Of the rows, in [0, 1]."""
        return self.groups / max(1, self.rows)


def leaking(sets: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Bool (rows,): rows with another row of their set, int64 (rows,), in another fold, int64 (rows,)."""
    numbers, place = np.unique(sets, return_inverse=True)
    least, most = np.full(len(numbers), folds.max()), np.full(len(numbers), folds.min())
    np.minimum.at(least, place, folds)
    np.maximum.at(most, place, folds)
    found: np.ndarray = (least != most)[place]
    return found


def leak_of(subject: Subject, folds: np.ndarray) -> Leak:
    """What leaks across folds, int64 (rows,)."""
    found = subject.duplicates

    def count(sets: np.ndarray) -> int:
        return int(leaking(subject.train(sets), folds).sum())

    return Leak(count(found.pictures), count(found.texts), count(found.groups), len(subject.catalog))


def test_rows_seen(subject: Subject, sets: np.ndarray) -> np.ndarray:
    """int64 positions of the rows of the test that have a row of the catalogue in their set."""
    rows = len(subject.catalog)
    found: np.ndarray = np.flatnonzero(np.isin(sets[rows:], sets[:rows]))
    return found


def duplicate_findings(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    yield from _across_folds(subject)
    yield from _kinds(subject)
    if subject.test is not None:
        yield from _in_test(subject)


def _across_folds(subject: Subject) -> Iterator[Finding]:
    folds = subject.folds if subject.folds is not None else subject.plain_folds
    groups = subject.train(subject.duplicates.groups)
    if folds is None:
        return
    leak = leak_of(subject, folds)
    if leak.groups:
        level = Level.WRONG if leak.share >= WRONG else Level.DOUBTFUL if leak.share >= DOUBTFUL else Level.NOTE
        yield Finding(
            "leak-across-folds",
            level,
            f"{counted(leak.groups, 'row')} ({share_of(leak.groups, leak.rows)}) have a duplicate in another fold "
            f"({leak.pictures:,} by picture, {leak.texts:,} by text), so validation looks better than it is",
            _mend(subject) if level > Level.NOTE else "",
            subject.ids_of(np.flatnonzero(leaking(groups, folds))),
        )
    elif subject.plain_folds is not None and (plain := leak_of(subject, subject.plain_folds)).groups:
        yield Finding(
            "kept-together",
            Level.NOTE,
            f"{share_of(plain.groups, plain.rows)} of the rows would have a duplicate in another fold of a plain "
            "split; here each group lies in one",
        )


def _mend(subject: Subject) -> str:
    data, catalog = subject.config.data, subject.catalog
    changes = [f"data.groups_csv={subject.groups_csv}"]
    if data.group_col is not None:
        changes.insert(0, "data.group_col=null")
    if catalog.given_folds is not None:
        changes.append("data.fold_col=no_column")
    return " ".join(changes)


def _kinds(subject: Subject) -> Iterator[Finding]:
    rows = len(subject.catalog)
    for key, sets, what in (
        ("duplicate-pictures", subject.train_sets(subject.duplicates.pictures), "show the picture of another row"),
        (
            "duplicate-texts",
            subject.train_sets(subject.duplicates.texts),
            "have the text of another row but for a word or two",
        ),
    ):
        if sets:
            count = sum(map(len, sets))
            example = " and ".join(subject.ids_of(sets[0][:2]))
            yield Finding(
                key,
                Level.NOTE,
                f"{counted(count, 'row')} ({share_of(count, rows)}, {counted(len(sets), 'set')}) {what}; the first: "
                f"{example}",
                ids=subject.ids_of(np.concatenate(sets)),
            )


def _in_test(subject: Subject) -> Iterator[Finding]:
    test = subject.test
    assert test is not None  # noqa: S101 - asked before
    known = set(subject.catalog.ids)
    same_ids = [i for i in test.ids if i in known]
    if same_ids:
        yield Finding(
            "test-ids",
            Level.DOUBTFUL,
            f"{counted(len(same_ids), 'id')} of the test {'is' if len(same_ids) == 1 else 'are'} in the training table "
            "too: are these the same products?",
            "leave these rows out of one of the tables",
            same_ids,
            is_test=True,
        )
    seen = test_rows_seen(subject, subject.duplicates.groups)
    if len(seen):
        by_picture = len(test_rows_seen(subject, subject.duplicates.pictures))
        by_text = len(test_rows_seen(subject, subject.duplicates.texts))
        yield Finding(
            "leak-into-test",
            Level.DOUBTFUL if len(seen) >= TEST_DOUBTFUL * len(test) else Level.NOTE,
            f"{counted(len(seen), 'row')} of the test ({share_of(len(seen), len(test))}) have a duplicate in the "
            f"training table ({by_picture:,} by picture, {by_text:,} by text)",
            "leave them out of the figures of the test, unless new products will be like that",
            [test.ids[row] for row in seen],
            is_test=True,
        )
