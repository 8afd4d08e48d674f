"""TF-IDF of hashed terms, against scikit-learn.

.venv/bin/python -m pytest tests/model/test_terms.py
"""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from mmclf.model import terms
from mmclf.model.terms import ANALYZERS, BUCKETS, InverseFrequency, TermIndex, count_terms, plain

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
    theirs = TfidfTransformer(sublinear_tf=True).fit(hashing.transform(map(plain, TRAIN)))
    ours = learn(kind)
    for texts in (TRAIN, OTHERS):
        found = ours.apply(count_terms(texts, kind))
        assert found.dtype == np.float32
        np.testing.assert_allclose(
            found.toarray(), theirs.transform(hashing.transform(map(plain, texts))).toarray(), atol=1e-6
        )


@pytest.mark.parametrize("kind", ["words", "chars"])
def test_an_empty_text_has_no_terms_and_others_have_length_one(kind):
    found = learn(kind).apply(count_terms(OTHERS, kind))
    lengths = np.sqrt((found.toarray() ** 2).sum(axis=1))
    np.testing.assert_allclose(lengths, [1, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Oak TABLE", "oak table"),
        ("Größe Öl épée Płatki", "grosse ol epee platki"),
        ("e\u0301pe\u0301e", "epee"),  # accents of their own
        ("ＡＢＣ１２", "abc12"),  # full width
        ("Шоколад κρασί", "shokolad krasi"),
        ("권총", "gwonchong"),
        ("大帐篷 ガラス", "大帐篷 ガラス"),  # ideographs and syllables stay, their marks with them
        ("", ""),
        ("a\ud800", "a\ud800"),
    ],
)
def test_what_differs_in_case_accents_width_or_alphabet_is_one_term(text, expected):
    assert plain(text) == expected
    assert plain(plain(text)) == expected


@pytest.mark.parametrize("kind", ["words", "chars"])
def test_words_of_two_alphabets_share_their_terms(kind):
    counts = count_terms(["шоколад", "shokolad", "épée", "EPEE"], kind).toarray()
    np.testing.assert_array_equal(counts[0], counts[1])
    np.testing.assert_array_equal(counts[2], counts[3])


def test_the_whole_text_is_read():
    """A tower reads 77 tokens of it."""
    long = " ".join(["oak"] * 500 + ["rare"])
    assert count_terms([long], "words").nnz == count_terms(["oak oak rare"], "words").nnz


@pytest.mark.parametrize("frequent", [0.0, 0.3, 2.0])
def test_products_are_those_of_the_matrices_whatever_terms_are_dense(monkeypatch, frequent):
    monkeypatch.setattr(terms, "FREQUENT", frequent)
    known = learn("chars")
    rows, support = known.apply(count_terms(OTHERS, "chars")), known.apply(count_terms(TRAIN, "chars"))
    found = TermIndex(support).products(rows)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), rows.toarray() @ support.toarray().T, atol=1e-6)
    assert TermIndex(support).products(rows[:0]).shape == (0, len(TRAIN))
