"""TF-IDF of hashed terms, against scikit-learn.

.venv/bin/python -m pytest tests/model/test_terms.py
"""

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from mmclf.model.terms import ANALYZERS, BUCKETS, InverseFrequency, count_terms

TRAIN = ["red oak table, red legs", "blue shirt", "", "Tischlampe aus Eiche – größer", "red shirt"]
OTHERS = ["red table never seen", "", "zzz"]


def learn(kind):
    counts = count_terms(TRAIN, kind)
    return InverseFrequency.learn(np.bincount(counts.indices, minlength=BUCKETS), len(TRAIN))


@pytest.mark.parametrize("kind", ["words", "chars"])
def test_it_is_scikit_learns_tf_idf(kind):
    analyzer, lengths = ANALYZERS[kind]
    hashing = HashingVectorizer(
        analyzer=analyzer, ngram_range=lengths, n_features=BUCKETS, alternate_sign=False, norm=None
    )
    theirs = TfidfTransformer(sublinear_tf=True).fit(hashing.transform(TRAIN))
    ours = learn(kind)
    for texts in (TRAIN, OTHERS):
        found = ours.apply(count_terms(texts, kind))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.toarray(), theirs.transform(hashing.transform(texts)).toarray(), atol=1e-6)


@pytest.mark.parametrize("kind", ["words", "chars"])
def test_an_empty_text_has_no_terms_and_others_have_length_one(kind):
    found = learn(kind).apply(count_terms(OTHERS, kind))
    lengths = np.sqrt((found.toarray() ** 2).sum(axis=1))
    np.testing.assert_allclose(lengths, [1, 0, 1], atol=1e-6)


def test_the_whole_text_is_read():
    """A tower reads 77 tokens of it."""
    long = " ".join(["oak"] * 500 + ["rare"])
    assert count_terms([long], "words").nnz == count_terms(["oak oak rare"], "words").nnz
