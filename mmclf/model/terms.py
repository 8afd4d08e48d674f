"""The words and characters of texts, as TF-IDF: the whole text, of which a tower may read a part only.

Terms are hashed into a fixed number of buckets, so nothing of a vocabulary has to be built, kept or sent along: a table
of any length is counted in one pass, and a model holds one number for each bucket that its training rows use.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

Kind = Literal["words", "chars"]
# with a million buckets, one term in some hundred of a table of thousands of rows shares its own with another
BUCKETS = 2**20
# words and pairs of words; one to five characters within a word: one is a word in Chinese, and half of one in Japanese
ANALYZERS: dict[str, tuple[str, tuple[int, int]]] = {"words": ("word", (1, 2)), "chars": ("char_wb", (1, 5))}


def count_terms(texts: Sequence[str], kind: Kind) -> csr_array:
    """1 + log of how often each term stands in each text, float32 (rows, BUCKETS)."""
    from sklearn.feature_extraction.text import HashingVectorizer  # here, since it takes a second

    analyzer, lengths = ANALYZERS[kind]
    hashing = HashingVectorizer(
        analyzer=analyzer, ngram_range=lengths, n_features=BUCKETS, alternate_sign=False, norm=None, dtype=np.float32
    )
    counts = csr_array(hashing.transform(texts), dtype=np.float32)
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
