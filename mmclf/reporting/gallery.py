"""Products as cards: picture, text, and what is said of them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.decoding import decode_picture, read_file
from ..data.rows import Rows
from ..errors import PictureError
from .evidence import Evidence
from .section import percent

# longest side of a thumbnail, in pixels, and the quality of its JPEG
SIDE, QUALITY = 96, 72
# characters of a text that a card shows
TEXT = 110


@dataclass(frozen=True)
class Card:
    """A product.

    Attributes:
        id: of its row.
        picture: a `data:` address; "" where it has none that can be read.
        note: in the picture's place.
        text: its beginning.
        lines: name and value of what is said.
    """

    id: str
    picture: str
    note: str
    text: str
    lines: Sequence[tuple[str, str]]


def card(evidence: Evidence, row: int, lines: Sequence[tuple[str, str]] = ()) -> Card:
    """The card of a row of the table.

    Args:
        evidence: whose row it is.
        row: its position.
        lines: what is said below its text; none for label and prediction with their probabilities.
    """
    table = evidence.table
    given, found = evidence.targets[row], evidence.predictions[row]
    probabilities = table.probabilities[row]
    lines = lines or [
        ("given", f"{table.classes[given]} ({percent(float(probabilities[given]))})"),
        ("taken for", f"{table.classes[found]} ({percent(float(probabilities[found]))})"),
    ]
    if evidence.rows is None:
        return Card(table.ids[row], "", "", "", lines)
    picture, note = thumbnail(evidence.rows, row)
    return Card(table.ids[row], picture, note, shorten(evidence.rows.texts[row], TEXT), lines)


def thumbnail(rows: Rows, row: int) -> tuple[str, str]:
    """A row's first picture as a `data:` address of a small JPEG, and "" or why there is none."""
    names = rows.pictures[row]
    if not names:
        return "", "no picture"
    source = rows.picture_source
    try:
        content = read_file(source / names[0]) if isinstance(source, Path) else source[names[0]]
        picture = decode_picture(content, names[0], draft=SIDE)
    except (PictureError, KeyError):
        return "", "the picture can't be read"
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}", ""


def shorten(text: str, most: int) -> str:
    """A text's beginning, cut between words where it can be."""
    if len(text) <= most:
        return text
    kept = text[:most]
    return f"{kept.rpartition(' ')[0] or kept} …"
