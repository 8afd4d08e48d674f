"""Which texts are taken for the same.

.venv/bin/python -m pytest tests/checking/test_similar_texts.py
"""

import numpy as np
import pytest

from mmclf.checking.similar_texts import NEIGHBOURS, SHARED, WORDS, same_texts, similar_texts
from mmclf.checking.words import words_of
from mmclf.data.scripts import script_of


def draw_texts(count=60, words=14, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("lm", "nt", "rs", "st", "x")]
    return [" ".join(rng.choice(vocabulary, words)) for _ in range(count)]


def same(texts, first, second):
    found = similar_texts(texts)
    return bool(found[first] == found[second])


def test_colours_of_one_product_are_the_same():
    texts = draw_texts()
    name = (
        "the featherlight anorak keeps wind and drizzle out on long ridges packs into its own pocket weighs less than "
        "an apple dries within minutes"
    )
    texts += [f"Anorak {colour} {name}" for colour in ("red", "blue", "green")]
    found = similar_texts(texts)
    assert len(set(found[-3:].tolist())) == 1
    assert len(set(found.tolist())) == 61


def test_case_and_punctuation_change_nothing_and_neither_does_a_word_of_many():
    texts = draw_texts(words=20)
    texts += [texts[0].upper() + "!", f"{texts[1]} new", texts[2].replace(" ", ", ")]
    assert all(same(texts, n, 60 + n) for n in range(3))
    assert same_texts(texts)[0] == same_texts(texts)[60] != same_texts(texts)[61]


def test_other_texts_are_others():
    texts = draw_texts(words=20)
    words = texts[0].split()
    texts += [" ".join(sorted(words)), " ".join(words[:14]), " ".join([*words[:16], *texts[1].split()[:4]])]
    assert not any(same(texts, 0, n) for n in (60, 61, 62))


def test_short_texts_are_the_same_word_for_word_alone():
    texts = [*draw_texts(), "stick man", "Stick man", "stick man 2", "", ""]
    assert len(set(similar_texts(texts).tolist())) == len(texts)
    found = same_texts(texts)
    assert found[60] == found[61] != found[62]
    assert found[63] != found[64]


@pytest.mark.parametrize("seed", range(3))
def test_no_pair_is_missed_by_the_search(seed):
    rng = np.random.default_rng(seed)
    texts = draw_texts(40, seed=seed)
    for row in range(40):  # each again with one to three words changed, so that some pairs lie on either side
        words = texts[row].split()
        for place in rng.choice(len(words), row % 4, replace=False):
            words[place] = str(rng.choice(texts[(row + 1) % 40].split()))
        texts.append(" ".join(words))
    split = [words_of(text) for text in texts]
    sets = [frozenset(words) for words in split]
    distinct = {tuple(words): set(words) for words in split if len(set(words)) >= WORDS}
    weight = {w: np.log1p(len(distinct) / max(3, sum(w in s for s in distinct.values()))) for s in sets for w in s}
    found = similar_texts(texts)
    for a in range(80):
        for b in range(a):
            shared, all_of_them = (sum(weight[w] for w in part) for part in (sets[a] & sets[b], sets[a] | sets[b]))
            pairs_a, pairs_b = (set(zip(split[n], split[n][1:], strict=False)) for n in (a, b))
            in_order = len(pairs_a & pairs_b) >= NEIGHBOURS * len(pairs_a | pairs_b)
            if shared >= SHARED * all_of_them and in_order and min(len(sets[a]), len(sets[b])) >= WORDS:
                assert found[a] == found[b]


def test_words_and_scripts():
    assert words_of("Ｅlisa EverCool™ Tee, 5'") == ["elisa", "evercooltm", "tee", "5"]
    assert words_of("青い shirt") == ["青", "い", "shirt"]
    assert script_of("7,62 мм patron патроны калибра") == "Cyrillic"
    assert script_of("naïve café") == "Latin"
    assert script_of("数据卡 cbm") == "CJK"
    assert script_of("12 %") == ""
