"""Which row a picture file belongs to, by its name, and in which order the pictures of a row come.

`<id>.jpg/.png/.jpeg/.webp` come first, in this order, then `<id>_*` with any image suffix. Suffixes match in either
case, names in any Unicode normal form. Only the standard library is used here: these functions travel to other machines
on their own.
"""

import re
import unicodedata
from collections.abc import Sequence

# in the order of the recipe: <id>.jpg before <id>.png and so on
FIRST_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp")
IMAGE_SUFFIXES = (*FIRST_SUFFIXES, ".bmp", ".gif", ".tif", ".tiff")


def normal_form(name: str) -> str:
    """Of an id or a file name, as they are compared."""
    return unicodedata.normalize("NFC", name)


def is_picture(name: str) -> bool:
    """Whether the file has the suffix of a picture."""
    return _split(name)[1] in IMAGE_SUFFIXES


def possible_owners(name: str) -> list[str]:
    """The ids that a picture file may belong to, the longest first: it belongs to the first one that exists.

    With ids `A` and `A_1`, `A_1.jpg` is a picture of `A_1` only.
    """
    stem, suffix = _split(name)
    owners = [stem] if suffix in FIRST_SUFFIXES else []
    end = stem.rfind("_")
    while end > 0:
        owners.append(stem[:end])
        end = stem.rfind("_", 0, end)
    return owners


def in_order(owner: str, names: Sequence[str]) -> list[str]:
    """The picture files of a row in their order; `_2` comes before `_10`.

    Args:
        owner: the id, in its normal form.
        names: of the files.
    """

    def rank(name: str) -> tuple[bool, int, list[tuple[int, str]], str]:
        stem, suffix = _split(name)
        first = FIRST_SUFFIXES.index(suffix) if stem == owner else len(FIRST_SUFFIXES)
        return stem != owner, first, _natural(stem + suffix), name

    return sorted(names, key=rank)


def _split(name: str) -> tuple[str, str]:
    """Stem, and suffix in lower case."""
    stem, dot, suffix = normal_form(name).rpartition(".")
    return stem, dot + suffix.lower()


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that counts: `_2` before `_10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
