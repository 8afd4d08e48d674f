"""Texts in letters that their tokenizer has words of.

A tokenizer without words of an alphabet takes its words apart into letters or unknown tokens, of which the text tower
learned nothing. In Latin script names, brands, loan words and measures are words again. Ideographs and kana stay: their
sound tells less than they do. Measured in docs/lab-log.md, 2026-11-28.
"""

import re
from collections import Counter
from importlib.metadata import version
from typing import Any

from anyascii import anyascii

from ..data.scripts import script_of_letter

# letters of a piece that is a word or much of one, and how many of these a vocabulary of a script has
PIECE_LETTERS, LEAST_PIECES = 3, 100
KEPT = frozenset({"", "Latin", "CJK", "Hiragana", "Katakana", "Bopomofo"})
# of a foreign script in a word that is rewritten: one alone is a symbol, as in `β-carotene`
LEAST_LETTERS = 2
WORD = re.compile(r"\S+")
# what decides how texts are rewritten, beside the tokenizer's vocabulary
RULES = f"letters 1 anyascii {version('anyascii')}"


class Letters:
    """Rewrites words of scripts that a tokenizer has no words of.

    Attributes:
        known: scripts that are left as they are, as `Cyrillic`; None for every script.
    """

    def __init__(self, known: frozenset[str] | None) -> None:
        self.known = known
        self._table = _Table(KEPT if known is None else known | KEPT)

    @classmethod
    def of(cls, tokenizer: Any) -> "Letters":
        """Those that an open_clip tokenizer knows.

        Texts stay as they are for open_clip's own, as published, and for one whose vocabulary can't be asked for.
        """
        backend = getattr(getattr(tokenizer, "tokenizer", None), "backend_tokenizer", None)
        if backend is None:
            return cls(None)
        found = Counter(script for piece in backend.get_vocab() if (script := _script_of_piece(piece, backend.decoder)))
        return cls(frozenset(script for script, pieces in found.items() if pieces >= LEAST_PIECES))

    def reads(self, script: str) -> bool:
        """Whether words of a script are left as they are."""
        return self.known is None or script in self._table.left

    def rewrite(self, text: str) -> str:
        """The text as the tokenizer gets it."""
        return text if self.known is None or text.isascii() else WORD.sub(self._rewritten, text)

    def _rewritten(self, word: re.Match[str]) -> str:
        letters = word[0]
        foreign = sum(self._table[ord(letter)] != letter for letter in letters)
        return letters.translate(self._table) if foreign >= LEAST_LETTERS else letters


class _Table(dict[int, str]):
    """What each character becomes, by its code point, found once."""

    def __init__(self, left: frozenset[str]) -> None:
        super().__init__()
        self.left = left

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        found = letter
        if script_of_letter(letter) not in self.left:
            # where there is no case, as in Hangul, anyascii marks where a syllable begins
            found = anyascii(letter) if letter.isupper() else anyascii(letter).lower()
        self[code] = found
        return found


def _script_of_piece(piece: str, decoder: Any) -> str:
    """The script of a piece of a vocabulary that is long enough to be a word; "" for others."""
    if piece.isascii():
        return ""
    letters = decoder.decode([piece]) if decoder is not None else piece
    scripts = {script for letter in letters if (script := script_of_letter(letter))}
    return scripts.pop() if len(scripts) == 1 and sum(map(str.isalpha, letters)) >= PIECE_LETTERS else ""
