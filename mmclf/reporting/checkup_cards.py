"""Products of an examination as cards."""

from collections.abc import Sequence
from dataclasses import replace

from ..checking.examination import Examination
from .gallery import TEXT, Card, shorten, thumbnail


def product(found: Examination, row: int, lines: Sequence[tuple[str, str]] = (), picture: str = "") -> Card:
    """The card of a row, with its label and what else is said.

    Args:
        found: whose row it is.
        row: its position; those behind the catalogue's are of the test.
        lines: name and value.
        picture: name of the one that is shown; "" for the row's first.
    """
    subject = found.subject
    rows, of_train = subject.catalog.rows, len(subject.catalog)
    said = [*lines]
    if row < of_train:
        said.insert(0, ("label", subject.labels[row]))
    elif subject.test is not None:
        rows, row = subject.test.rows, row - of_train
        said.insert(0, ("table", "test"))
    alone = rows.slice(row, row + 1)
    if picture:
        alone = replace(alone, pictures=[(picture,)])
    content, note = thumbnail(alone, 0)
    return Card(rows.ids[row], content, note, shorten(rows.texts[row], TEXT), said)
