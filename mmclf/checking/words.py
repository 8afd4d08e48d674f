"""Texts as words, and the scripts that they are written in."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

# of scripts that put no spaces between words each letter counts as one
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
# first words of Unicode's names that belong to one script, or to none
SAME = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA", "HALFWIDTH": "KATAKANA", "FULLWIDTH": "LATIN"}
NONE = {
    "MODIFIER",
    "FEMININE",
    "MASCULINE",
    "COMBINING",
    "SUPERSCRIPT",
    "SUBSCRIPT",
    "MICRO",
    "SCRIPT",
    "DOUBLE-STRUCK",
}


def words_of(text: str) -> list[str]:
    """The words of a text in their order, in one case and one Unicode form."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@cache
def _script(letter: str) -> str:
    """A letter's script, by the first word of its Unicode name; "" for what is no letter."""
    if not letter.isalpha():
        return ""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "" if first in NONE else SAME.get(first, first)


def script_of(text: str) -> str:
    """The script that most letters of a text are of, as `Latin` or `Cyrillic`; "" where there is no letter."""
    counts = Counter(filter(None, map(_script, text)))
    name = counts.most_common(1)[0][0] if counts else ""
    return name if name == "CJK" else name.capitalize()


def is_unspaced(texts: Iterable[str]) -> bool:
    """Whether a script puts no spaces between words, by texts of it."""
    unspaced = re.compile(f"[{UNSPACED}]")
    return sum(len(unspaced.findall(text)) for text in texts) > sum(len(text) for text in texts) / 3
