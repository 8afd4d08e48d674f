"""The words and characters of texts, as TF-IDF: the whole text, of which a tower may read a part only.

Terms are hashed into a fixed number of buckets, so nothing of a vocabulary has to be built, kept or sent along: a table
of any length is counted in one pass, and a model holds one number for each bucket that its training rows use.

Before, texts are made plain: what differs in accents, width or alphabet alone becomes one term.
"""

import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from anyascii import anyascii
from scipy.sparse import csr_array

Kind = Literal["words", "chars", "title_chars"]
# with a million buckets, one term in some hundred of a table of thousands of rows shares its own with another
BUCKETS = 2**20
# of the rows: a term of more is multiplied as a dense matrix
FREQUENT = 0.05
# words and pairs of words; one to five characters within a word: one is a word in Chinese, and half of one in Japanese
ANALYZERS: dict[str, tuple[str, tuple[int, int]]] = {
    "words": ("word", (1, 2)),
    "chars": ("char_wb", (1, 5)),
    "title_chars": ("char_wb", (1, 5)),
}
# the blocks from here on are Chinese, Japanese, full width or symbols; before it stand the alphabets, Hangul's letters
# among them
FIRST_IDEOGRAPHIC = 0x2E80


class _Letters(dict[int, str]):
    """What each character becomes, by its code point, found once."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        if code < FIRST_IDEOGRAPHIC:
            letter = "" if unicodedata.combining(letter) else anyascii(letter).lower()
        self[code] = letter
        return letter


_LETTERS = _Letters()


def plain(text: str) -> str:
    """A text in small letters, without accents, in Latin script unless it is Chinese or Japanese.

    So `шоколад`, `Schokolade` and `chocolate` share some of their characters, and full width is as half width. An
    ideograph is a word or half of one, and says more than its sound.
    """
    if text.isascii():
        return text.lower()
    # marks of Japanese syllables go together with them again
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", text.lower()).translate(_LETTERS))


def count_terms(texts: Sequence[str], kind: Kind) -> csr_array:
    """1 + log of how often each term stands in each text, made plain, float32 (rows, BUCKETS)."""
    from sklearn.feature_extraction.text import HashingVectorizer  # here, since it takes a second

    analyzer, lengths = ANALYZERS[kind]
    hashing = HashingVectorizer(
        analyzer=analyzer, ngram_range=lengths, n_features=BUCKETS, alternate_sign=False, norm=None, dtype=np.float32
    )
    counts = csr_array(hashing.transform([plain(text) for text in texts]), dtype=np.float32)
    counts.data = 1 + np.log(counts.data)
    return counts


class InverseFrequency:
    """How rare each term is among the training rows; a term that isn't in them is the rarest.

    The smooth form, ln((1 + rows) / (1 + rows with the term)) + 1, of scikit-learn's TfidfTransformer.

    Attributes:
        buckets: int32 (terms,), ascending, those that training rows use.
        weights: float32 (terms,), of each.
        default: of any other.
    """

    def __init__(self, buckets: np.ndarray, weights: np.ndarray, default: float) -> None:
        self.buckets, self.weights, self.default = buckets, weights, default

    @classmethod
    def learn(cls, used: np.ndarray, rows: int) -> "InverseFrequency":
        """
        Args:
            used: int64 (BUCKETS,), how many training rows have the term.
            rows: how many have any.
        """
        buckets = np.flatnonzero(used)
        weights = np.log((1 + rows) / (1 + used[buckets])) + 1
        return cls(buckets.astype(np.int32), weights.astype(np.float32), float(np.log(1 + rows) + 1))

    def apply(self, counts: csr_array) -> csr_array:
        """TF-IDF of rows, each of unit length, float32 (rows, BUCKETS); an empty text stays empty."""
        table = np.full(BUCKETS, self.default, dtype=np.float32)
        table[self.buckets] = self.weights
        found = csr_array((counts.data * table[counts.indices], counts.indices, counts.indptr), shape=counts.shape)
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        squares = np.bincount(rows, weights=found.data.astype(np.float64) ** 2, minlength=counts.shape[0])
        found.data = (found.data / np.sqrt(squares)[rows]).astype(np.float32)
        return found


class TermIndex:
    """Rows of TF-IDF that others are compared with.

    A term of many rows is in the products of nearly all pairs: such terms are multiplied as a dense matrix, which
    is faster (docs/lab-log.md, 2026-11-27).
    """

    def __init__(self, rows: csr_array) -> None:
        """
        Args:
            rows: float32 (m, BUCKETS).
        """
        used = np.bincount(rows.indices, minlength=BUCKETS)
        frequent = np.flatnonzero(used > FREQUENT * rows.shape[0])
        self._count = len(frequent)
        self._column = np.full(BUCKETS, -1, dtype=np.int32)
        self._column[frequent] = np.arange(self._count, dtype=np.int32)
        dense, rare = self._split(rows)
        self._dense, self._rare = dense.T, rare.T.tocsr()

    def products(self, rows: csr_array) -> torch.Tensor:
        """Of each row with each of the index: float32 (n, m).

        Args:
            rows: float32 (n, BUCKETS).
        """
        dense, rare = self._split(rows)
        return torch.from_numpy((rare @ self._rare).toarray()).addmm_(dense, self._dense)

    def _split(self, rows: csr_array) -> tuple[torch.Tensor, csr_array]:
        """The frequent terms, float32 (n, frequent), and the others, float32 (n, BUCKETS)."""
        columns = self._column[rows.indices]
        is_rare = columns < 0
        numbers = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        dense = np.zeros((rows.shape[0], self._count), dtype=np.float32)
        dense[numbers[~is_rare], columns[~is_rare]] = rows.data[~is_rare]
        starts = np.r_[0, np.cumsum(is_rare)][rows.indptr]
        return torch.from_numpy(dense), csr_array((rows.data[is_rare], rows.indices[is_rare], starts), shape=rows.shape)
