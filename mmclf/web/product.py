"""One product as a browser sends it: texts, and pictures as base64."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data.catalog import join_text
from ..data.rows import Rows
from ..errors import RowError, TooLargeError
from ..scoring.limits import Limits
from ..scoring.requests import picture_content, well_formed

NAME = 80  # characters of a picture's name that a message shows


@dataclass(frozen=True)
class Product:
    """What is asked about.

    Attributes:
        text: all text fields, joined as in a table; "" for none.
        title: the first of them alone.
        pictures: content of each file, by its name.
    """

    text: str
    title: str
    pictures: dict[str, bytes]

    def rows(self, variants: Sequence[tuple[bool, bool]], *, has_titles: bool) -> Rows:
        """The product once for each of `variants`.

        Args:
            variants: whether its pictures and whether its texts are there.
            has_titles: the model has more than one text column, so the first may count alone.
        """
        return Rows(
            ids=[str(number) for number in range(len(variants))],
            texts=[self.text if with_text else "" for _, with_text in variants],
            pictures=[tuple(self.pictures) if with_pictures else () for with_pictures, _ in variants],
            picture_source=self.pictures,
            titles=[self.title if with_text else "" for _, with_text in variants] if has_titles else None,
        )


def read_product(content: Any, text_cols: Sequence[str], limits: Limits) -> Product:
    """A product from JSON: `{"texts": {column: text}, "pictures": [{"name": ..., "content": base64}]}`.

    Args:
        content: as it was parsed.
        text_cols: of the model; a text may be left out.
        limits: of a request.

    Raises:
        RowError: it is something else, too large, or there is nothing in it.
    """
    texts, pictures = _part(content, "texts", dict), _part(content, "pictures", list)
    for column, text in texts.items():
        if column not in text_cols:
            raise RowError(f"texts: {column:.{NAME}}: no such text; the model reads {', '.join(text_cols) or 'none'}")
        if not isinstance(text, str):
            raise RowError(f"texts: {column}: found {type(text).__name__}, but it should be a text")
        if len(text) > limits.characters:
            raise TooLargeError(f"{column}: {len(text):,} characters are too many (at most {limits.characters:,})")
    if len(pictures) > limits.pictures:
        raise TooLargeError(f"{len(pictures):,} pictures are too many for a product (at most {limits.pictures:,})")
    fields = [well_formed(texts.get(column, "")) for column in text_cols]
    found = Product(join_text(fields), join_text(fields[:1]), _pictures(pictures, limits))
    if not found.text and not found.pictures:
        raise RowError("there is nothing to go by; drop a picture or write a text")
    return found


def _part(content: Any, name: str, kind: type) -> Any:
    found = content.get(name, kind()) if isinstance(content, dict) else None
    if not isinstance(found, kind):
        raise RowError(f"{name}: should be a JSON {'object' if kind is dict else 'list'} in an object")
    return found


def _pictures(given: list[Any], limits: Limits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for number, picture in enumerate(given, start=1):
        if not isinstance(picture, dict) or not isinstance(picture.get("name"), str):
            raise RowError(f'pictures: number {number} should be {{"name": ..., "content": base64}}')
        name = well_formed(picture["name"])[:NAME] or f"picture {number}"
        try:
            content = picture_content(picture.get("content"), limits)
        except RowError as error:
            raise type(error)(f"{name}: {error}") from None
        found[name if name not in found else f"{name} ({number})"] = content
    return found
