"""Texts that are the same, or but for a word or two of many: colours of one product, a row entered twice.

Two texts are compared by the words that they share, each counted by how rare it is: the Jaccard coefficient with the
weights log(1 + n / df). So `Purple` for `Green` matters little beside a product's own name, and `garnet` for `pearl`
among descriptions of one mould matters. The order of the words must agree too: phrases that a shop puts together anew
are another text.

Pairs are found by the prefixes of Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity Search" (2007): texts that
share so much share one of their rarest words.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from .sets import alone, joined
from .words import words_of

# least share of the words, weighted; of their neighbours, unweighted; and words that a text must have to be told apart
SHARED, NEIGHBOURS, WORDS = 0.9, 0.5, 8
# a word in fewer texts than this counts as one in so many: a slip of the pen must not outweigh ten words
RARE = 3
# candidates at a time, and texts with the same rare word that a text is compared with: those of the nearest weight
STEP, MOST = 2**15, 50


def same_texts(texts: Sequence[str]) -> np.ndarray:
    """int64 (rows,): sets of rows with the same words in the same order; a row without any is on its own."""
    keys = [" ".join(words_of(text)) or f"\x1f{row}" for row, text in enumerate(texts)]
    position: dict[str, int] = {}
    return np.array([position.setdefault(key, len(position)) for key in keys], dtype=np.int64)


def similar_texts(texts: Sequence[str]) -> np.ndarray:
    """int64 (rows,): sets of rows whose texts are nearly the same and have words enough to say so."""
    same = same_texts(texts)
    first_of = np.unique(same, return_index=True)[1]
    split = [words_of(texts[row]) for row in first_of]
    long = np.array([n for n, words in enumerate(split) if len(set(words)) >= WORDS], dtype=np.int64)
    a, b = _pairs([split[n] for n in long])
    short = np.ones(len(first_of), dtype=bool)
    short[long] = False
    return alone(joined(len(first_of), long[a], long[b])[same], short[same])


def _pairs(texts: Sequence[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of texts that are nearly the same, int64 each; of distinct ones, as words."""
    first, second = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    if len(texts) > 1:
        counts, weights = _weighted(texts)
        total = np.asarray(counts @ weights)
        for a, b in _candidates(counts, weights, total):
            shared = np.asarray(counts[a].multiply(counts[b]) @ weights)
            enough = shared >= SHARED * (total[a] + total[b] - shared) - 1e-9
            kept = [n for n in np.flatnonzero(enough).tolist() if _in_one_order(texts[a[n]], texts[b[n]])]
            first.append(a[kept])
            second.append(b[kept])
    return np.concatenate(first), np.concatenate(second)


def _weighted(texts: Sequence[list[str]]) -> tuple[csr_array, np.ndarray]:
    """Which text has which word, float64 (texts, words), and the words' weights, float64 (words,)."""
    number: dict[str, int] = {}
    sets = [{number.setdefault(word, len(number)) for word in text} for text in texts]
    lengths = np.array([len(each) for each in sets])
    columns = np.array([word for each in sets for word in sorted(each)], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    counts = csr_array((np.ones(len(columns)), columns, starts), shape=(len(texts), len(number)))
    return counts, np.log1p(len(texts) / np.maximum(np.bincount(columns, minlength=len(number)), RARE))


def _candidates(counts: csr_array, weights: np.ndarray, total: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of texts, int64 each, that share one of the rarest words of both and weigh about the same; in portions."""
    texts_with: dict[int, list[int]] = {}
    first: list[int] = []
    second: list[int] = []
    # by weight, so that the last ones with a word are the nearest
    for text in np.argsort(total, kind="stable").tolist():
        words = counts.indices[counts.indptr[text] : counts.indptr[text + 1]]
        rare_first = words[np.lexsort((words, -weights[words]))]
        # what stands behind can't be enough alone
        left = total[text] - np.cumsum(weights[rare_first])
        prefix = rare_first[: 1 + int((left >= SHARED * total[text] - 1e-9).sum())]
        near: set[int] = set()
        for word in prefix.tolist():
            others = texts_with.setdefault(word, [])
            near.update(others[-MOST:])
            others.append(text)
        least = SHARED * total[text] - 1e-9
        near = {other for other in near if total[other] >= least}
        first += near
        second += [text] * len(near)
        if len(first) >= STEP:
            yield np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
            first, second = [], []
    if first:
        yield np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)


def _in_one_order(first: list[str], second: list[str]) -> bool:
    """Whether the words of two texts have mostly the same neighbours."""
    a, b = set(pairwise(first)), set(pairwise(second))
    return len(a & b) >= NEIGHBOURS * len(a | b)
