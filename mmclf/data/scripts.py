"""The scripts that texts are written in."""

import unicodedata
from collections import Counter
from functools import cache

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


@cache
def script_of_letter(letter: str) -> str:
    """The script of a letter, or of a mark that belongs to one script alone, as `Latin`; "" for everything else."""
    if unicodedata.category(letter)[0] not in "LM":
        return ""
    first = unicodedata.name(letter, "").partition(" ")[0]
    name = "" if first in NONE else SAME.get(first, first)
    return name if name == "CJK" else name.capitalize()


def script_of(text: str) -> str:
    """The script that most letters of a text are of, as `Latin` or `Cyrillic`; "" where there is no letter."""
    counts = Counter(filter(None, (script_of_letter(letter) for letter in text if letter.isalpha())))
    return counts.most_common(1)[0][0] if counts else ""
