"""Rows of the same product, or of the same picture or text, by what their pictures and texts show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .looks import Looks
from .sets import alone, joined, members, united
from .similar_pictures import similar_pictures
from .similar_texts import same_texts, similar_texts

# what so many rows of so many classes share stands for a missing picture or text, not for a product
STAND_IN_ROWS, STAND_IN_CLASSES = 20, 3


@dataclass(frozen=True)
class Duplicates:
    """Sets of rows, each int64 (rows,): the number of each row's set, in which most rows are alone.

    Attributes:
        pictures: rows whose pictures look the same.
        texts: rows whose texts are the same but for a word or two of many.
        same_texts: rows with the same words in the same order, however few.
        groups: rows that are together in `pictures` or `texts`: products that must not be split over folds.
        alike: int64 (pictures,), sets of pictures that look the same.
        stand_ins: pictures that stand for none: a name, and the positions of the rows that have it.
    """

    pictures: np.ndarray
    texts: np.ndarray
    same_texts: np.ndarray
    groups: np.ndarray
    alike: np.ndarray
    stand_ins: tuple[tuple[str, np.ndarray], ...] = ()

    def twins(self, has_picture: np.ndarray, has_text: np.ndarray) -> np.ndarray:
        """int64 (rows,): sets of rows that nothing tells apart, neither a picture nor a text.

        Args:
            has_picture: bool (rows,).
            has_text: bool (rows,).
        """
        texts = united(self.texts, self.same_texts)
        texts[~has_text] = -1
        pictures = self.pictures.copy()
        pictures[~has_picture] = -1
        both = np.unique(np.stack([pictures, texts]), axis=1, return_inverse=True)[1].ravel().astype(np.int64)
        return alone(both, ~has_picture & ~has_text)


def find_duplicates(
    texts: Sequence[str], pictures: Sequence[Sequence[str]], looks: Looks, labels: Sequence[str]
) -> Duplicates:
    """Compare each row with all others.

    Args:
        texts: of the rows.
        pictures: names of each row's pictures.
        looks: of all these pictures.
        labels: of the rows; "" for those without one.
    """
    alike = similar_pictures(looks)
    by_picture, stand_ins = _by_picture(pictures, looks, alike, labels)
    by_text = _without_stand_ins(similar_texts(texts), labels)
    return Duplicates(by_picture, by_text, same_texts(texts), united(by_picture, by_text), alike, stand_ins)


def text_duplicates(texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """int64 (rows,): `texts` of `Duplicates`, without a look at any picture."""
    return _without_stand_ins(similar_texts(texts), labels)


def _by_picture(
    pictures: Sequence[Sequence[str]], looks: Looks, alike: np.ndarray, labels: Sequence[str]
) -> tuple[np.ndarray, tuple[tuple[str, np.ndarray], ...]]:
    """Sets of rows, int64 (rows,), and the stand-ins.

    Rows with several pictures belong together where at least half the pictures of one of them are the other's: a chart
    of sizes that two products share says nothing.
    """
    place = {name: n for n, name in enumerate(looks.names)}
    flat = looks.is_flat
    rows_with: dict[int, dict[int, float]] = {}
    for row, names in enumerate(pictures):
        for name in names:
            if not flat[place[name]] and place[name] not in looks.problems:
                parts = rows_with.setdefault(int(alike[place[name]]), {})
                parts[row] = parts.get(row, 0.0) + 1 / len(names)
    first: list[int] = []
    second: list[int] = []
    stand_ins = []
    for number, parts in rows_with.items():
        if _is_stand_in(list(parts), labels):
            name = looks.names[int(np.flatnonzero(alike == number)[0])]
            stand_ins.append((name, np.array(list(parts), dtype=np.int64)))
            continue
        anchor = max(parts, key=lambda row: (parts[row], -row))
        if parts[anchor] >= 0.5:
            others = [row for row in parts if row != anchor]
            first += [anchor] * len(others)
            second += others
    sets = joined(len(pictures), np.array(first, dtype=np.int64), np.array(second, dtype=np.int64))
    return sets, tuple(sorted(stand_ins, key=lambda each: -len(each[1])))


def _without_stand_ins(sets: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    which = np.zeros(len(sets), dtype=bool)
    for rows in members(sets, STAND_IN_ROWS):
        which[rows] = _is_stand_in(rows.tolist(), labels)
    return alone(sets, which)


def _is_stand_in(rows: Sequence[int], labels: Sequence[str]) -> bool:
    return len(rows) >= STAND_IN_ROWS and len({labels[row] for row in rows} - {""}) >= STAND_IN_CLASSES
