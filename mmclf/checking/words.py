"""Texts as words."""

import re
import unicodedata
from collections.abc import Iterable

# of scripts that put no spaces between words each letter counts as one
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """The words of a text in their order, in one case and one Unicode form."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def is_unspaced(texts: Iterable[str]) -> bool:
    """Whether a script puts no spaces between words, by texts of it."""
    unspaced = re.compile(f"[{UNSPACED}]")
    return sum(len(unspaced.findall(text)) for text in texts) > sum(len(text) for text in texts) / 3
