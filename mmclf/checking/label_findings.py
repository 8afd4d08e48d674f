"""Findings about labels: contradictions, classes that are hardly two, classes too small, and labels in the texts."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ..data.folds import fold_warnings
from ..data.labels import alike_labels
from .finding import NAMED, Finding, Level, Subject, counted, share_of
from .sets import members
from .words import words_of

# share of the rows from which on contradictions make training wrong
WRONG = 0.01
# share of the rows whose text holds the whole label, in several words, from which on it is doubtful
TELLING = 0.2
# the same of labels of one word, which texts hold by nature
ALL_TELLING = 0.9
# letters of a label that may be a slip of the pen for another one, and the share of that one's rows that it has at most
SLIP_LETTERS, SLIP_SHARE = 6, 0.1
# classes up to which each is compared with each
MOST_CLASSES = 1000


def label_findings(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    yield from _contradictions(subject)
    yield from _near_equal(subject)
    yield from _sizes(subject)
    yield from _in_texts(subject)


def contradictions(subject: Subject) -> list[np.ndarray]:
    """int64 positions of rows that nothing tells apart and whose labels differ, set by set."""
    rows = subject.catalog.rows
    tests = subject.test.rows if subject.test is not None else None
    pictures = [*rows.pictures, *(tests.pictures if tests else ())]
    texts = [*rows.texts, *(tests.texts if tests else ())]
    has_picture, has_text = np.array([bool(names) for names in pictures]), np.array([bool(text) for text in texts])
    return _of_several_labels(subject, subject.train(subject.duplicates.twins(has_picture, has_text)))


def same_picture(subject: Subject) -> list[np.ndarray]:
    """int64 positions of rows with the same picture and other texts and labels, set by set."""
    return _less(_of_several_labels(subject, subject.train(subject.duplicates.pictures)), contradictions(subject))


def same_text(subject: Subject) -> list[np.ndarray]:
    """int64 positions of rows with the same text and other pictures and labels, set by set."""
    return _less(_of_several_labels(subject, subject.train(subject.duplicates.same_texts)), contradictions(subject))


def _of_several_labels(subject: Subject, sets: np.ndarray) -> list[np.ndarray]:
    return [rows for rows in members(sets) if len({subject.labels[row] for row in rows}) > 1]


def _less(sets: list[np.ndarray], others: list[np.ndarray]) -> list[np.ndarray]:
    """The sets that aren't one of the others."""
    known = {tuple(rows.tolist()) for rows in others}
    return [rows for rows in sets if tuple(rows.tolist()) not in known]


def near_equal(labels: Sequence[str]) -> list[tuple[list[str], bool]]:
    """Labels that are hardly two classes, together; and whether they differ in their writing alone."""
    counts = Counter(labels)
    found = [(group, True) for group in alike_labels(counts)]
    known = {label for group, _ in found for label in group}
    names = sorted(counts, key=lambda label: (-counts[label], label))
    bare = {label: "".join(words_of(label.replace("&", " and "))) for label in names}
    by_bare: dict[str, list[str]] = {}
    for label in names:
        by_bare.setdefault(bare[label], []).append(label)
    for group in by_bare.values():
        if len(group) > 1 and not known.issuperset(group):
            found.append((group, False))
            known.update(group)
    for place, label in enumerate(names if len(names) <= MOST_CLASSES else ()):
        for rare in names[place + 1 :]:
            is_plural = abs(len(bare[rare]) - len(bare[label])) == 1 and bare[rare].rstrip("s") == bare[label].rstrip(
                "s"
            )
            is_rare = counts[rare] <= SLIP_SHARE * counts[label]
            if (is_rare or is_plural) and not known & {label, rare} and _is_slip(bare[label], bare[rare]):
                found.append(([label, rare], False))
    return found


def _is_slip(first: str, second: str) -> bool:
    """Whether two words differ by one letter, left out, added, changed or exchanged with the next, behind the first."""
    short, long = sorted((first, second), key=len)
    if len(short) < SLIP_LETTERS or len(long) - len(short) > 1 or short[0] != long[0] or short == long:
        return False
    start = next((n for n, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    rest_short, rest_long = short[start:], long[start:]
    changed = {rest_short[:1], rest_long[:1]}
    if any(letter.isdigit() for letter in changed):
        return False
    if len(short) < len(long):
        return rest_short == rest_long[1:]
    return rest_short[1:] == rest_long[1:] or (rest_short[1::-1] == rest_long[:2] and rest_short[2:] == rest_long[2:])


def _contradictions(subject: Subject) -> Iterator[Finding]:
    rows = len(subject.catalog)
    sure = contradictions(subject)
    if sure:
        count = sum(map(len, sure))
        yield Finding(
            "contradictions",
            Level.WRONG if count >= WRONG * rows else Level.DOUBTFUL,
            f"{counted(count, 'row')} ({share_of(count, rows)}) are like another row in picture and text and have "
            f"another label; the first: {_example(subject, sure[0])}",
            "decide which label is right: conflicts.csv lists them",
            subject.ids_of(np.concatenate(sure)),
        )
    for key, sets, what in (
        ("same-picture-other-label", same_picture(subject), "picture"),
        ("same-text-other-label", same_text(subject), "text"),
    ):
        if sets:
            count = sum(map(len, sets))
            yield Finding(
                key,
                Level.DOUBTFUL,
                f"{counted(len(sets), what)} {'stands' if len(sets) == 1 else 'stand'} at rows of several classes "
                f"({counted(count, 'row')}, {share_of(count, rows)}); the first: {_example(subject, sets[0])}",
                "see whether their labels are right: conflicts.csv lists them",
                subject.ids_of(np.concatenate(sets)),
            )


def _example(subject: Subject, rows: np.ndarray) -> str:
    """Two rows of different labels."""
    first = int(rows[0])
    other = next(int(row) for row in rows if subject.labels[row] != subject.labels[first])
    return " and ".join(f"{subject.catalog.ids[row]} ({subject.labels[row]})" for row in (first, other))


def _near_equal(subject: Subject) -> Iterator[Finding]:
    counts = Counter(subject.labels)
    for group, in_writing in near_equal(subject.labels):
        most, *others = group
        named = " and ".join(f"{label!r} ({counted(counts[label], 'row')})" for label in group)
        chosen = set(others)
        yield Finding(
            "near-equal-labels",
            Level.WRONG if in_writing else Level.DOUBTFUL,
            f"{named} {'differ in their writing alone and' if in_writing else 'look like one class and'} are "
            "classes of their own",
            f"in column {subject.catalog.label_col!r} write {most!r} for {' and '.join(map(repr, others))}"
            + ("" if in_writing else ", if they are one"),
            [i for i, label in zip(subject.catalog.ids, subject.labels, strict=True) if label in chosen],
        )


def _sizes(subject: Subject) -> Iterator[Finding]:
    counts, folds = Counter(subject.labels), subject.config.train.folds
    if subject.fold_problem:
        small = {label for label, count in counts.items() if count < folds}
        ids = [i for i, label in zip(subject.catalog.ids, subject.labels, strict=True) if label in small]
        if small and subject.catalog.given_folds is None:
            least = min(counts.values())
            names = ", ".join(f"{label!r} ({counts[label]})" for label in sorted(small)[:NAMED])
            yield Finding(
                "small-classes",
                Level.WRONG,
                f"{counted(len(small), 'class')} of {len(counts):,} {'has' if len(small) == 1 else 'have'} fewer rows "
                f"than the {folds} folds: {names}{', ...' if len(small) > NAMED else ''}",
                f"train.folds={least}, or add rows to them" if least > 1 else "add rows to them, or leave them out",
                ids,
            )
        else:
            yield Finding("folds", Level.WRONG, subject.fold_problem, "see the sentence")
    elif subject.folds is not None:
        for sentence in fold_warnings(subject.catalog, subject.folds):
            yield Finding("folds", Level.DOUBTFUL, sentence)
    largest, rows = counts.most_common(1)[0]
    if rows >= 0.5 * len(subject.labels) and len(counts) > 2:
        yield Finding(
            "one-large-class",
            Level.NOTE,
            f"{largest!r} has {share_of(rows, len(subject.labels))} of the rows: compare classes by macro-F1",
        )


def _in_texts(subject: Subject) -> Iterator[Finding]:
    rows = subject.catalog.rows
    told = rows_that_tell(subject)
    if not told:
        return
    several = [row for row in told if len(words_of(subject.labels[row])) > 1]
    doubtful = len(several) >= TELLING * len(rows) or len(told) >= ALL_TELLING * len(rows)
    yield Finding(
        "label-in-text",
        Level.DOUBTFUL if doubtful else Level.NOTE,
        f"The text of {counted(len(told), 'row')} ({share_of(len(told), len(rows))}) holds the words of its label"
        + (": is the label copied into the texts? Then new ones won't hold it" if doubtful else ""),
        "take the label out of the texts, or leave out a column by data.text_cols" if doubtful else "",
        subject.ids_of(told),
    )


def rows_that_tell(subject: Subject) -> list[int]:
    """Positions of the rows whose text holds the words of its label, one after the other."""
    phrases = {label: f" {' '.join(words_of(label))} " for label in set(subject.labels)}
    texts = subject.catalog.rows.texts
    return [
        row
        for row, (text, label) in enumerate(zip(texts, subject.labels, strict=True))
        if re.search(r"\w", label) and phrases[label] in f" {' '.join(words_of(text))} "
    ]
