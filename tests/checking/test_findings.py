"""Single findings that the planted catalogue has no room for.

.venv/bin/python -m pytest tests/checking/test_findings.py
"""

import numpy as np
import pytest

from mmclf.checking.brief import doubts
from mmclf.checking.examination import examine
from mmclf.checking.finding import Level
from mmclf.checking.label_findings import near_equal
from mmclf.data.folds import Split, assign_folds
from mmclf.model.token_counts import TokenCounter
from tests.faults import config_of, draw_shop
from tests.towers import make_dual


def found_in(shop, key, *, test=False, **more):
    """The findings of a kind."""
    shop.write()
    train, later = shop.read()
    found = examine(train, config_of(max_len=64), test=later if test else None, **more)
    return [each for each in found.findings if each.key == key]


@pytest.fixture
def shop(tmp_path):
    return draw_shop(tmp_path / "shop", seed=3)


def test_a_picture_of_many_classes_stands_for_none(shop):
    few = list(shop.train)[:25]
    for row_id in few[1:]:
        shop.picture(row_id).write_bytes(shop.picture(few[0]).read_bytes())
    [stand_in] = found_in(shop, "stand-in-pictures")
    assert set(stand_in.ids) == set(few)
    assert found_in(shop, "duplicate-pictures") == found_in(shop, "leak-across-folds") == []


def test_scripts_that_a_tokenizer_hardly_knows(shop):
    rows = iter(shop.train.values())
    for text in ("патроны калибра", "серебряное кольцо", "набор для шитья") * 3:
        next(rows)[:2] = [text, f"{text} {text} и ещё немного"]
    clip = TokenCounter("ViT-B-32-quickgelu")
    [finding] = found_in(shop, "script", count_tokens=clip)
    assert "Cyrillic, the script of 9 texts" in finding.sentence
    lengths, unknown = clip(["a photo of a cat", ""])
    assert lengths.tolist() == [7, 2]
    assert unknown.tolist() == [0, 0]


def test_a_word_piece_tokenizer_says_what_it_does_not_know(tmp_path):
    lengths, unknown = TokenCounter(f"local-dir:{make_dual(tmp_path / 'dual')}")(["red shirt", "衬衫"])
    assert lengths[0] > 2
    assert unknown[0] == 0
    assert unknown[1] > 0


def test_a_script_that_is_read_in_latin_letters(shop, tmp_path):
    """By a tokenizer that has no words of it."""
    rows = iter(shop.train.values())
    for text in ("ред shirt", "шорт", "ред тейбл") * 2:
        next(rows)[:2] = [text, f"{text} {text} кресло"]
    tokenizer = TokenCounter(f"local-dir:{make_dual(tmp_path / 'dual')}")
    first, second = found_in(shop, "script", count_tokens=tokenizer)
    assert "hardly knows Latin" in first.sentence  # ten words are its whole vocabulary
    assert "no words of Cyrillic, the script of 6 texts, and is given them in Latin letters" in second.sentence


def test_texts_that_are_cut(shop):
    few = list(shop.train)[:30]
    for row_id in few:
        shop.train[row_id][1] *= 6
    [finding] = found_in(shop, "cut-texts", count_tokens=TokenCounter("ViT-B-32-quickgelu"))
    assert finding.level == Level.DOUBTFUL
    assert set(few) <= set(finding.ids)
    assert finding.mend.startswith("raise data.max_len to ")


def test_a_test_table_of_another_kind(shop):
    assert found_in(shop, "drift", test=True) == []
    for n, cells in enumerate(shop.test.values()):
        cells[1] = " ".join([*cells[1].split()[:6], "refurbished", "grade", "abc"[n % 3]])
    [finding] = found_in(shop, "drift", test=True)
    assert finding.level == Level.DOUBTFUL
    assert "By their texts" in finding.sentence
    assert "refurbished" in finding.sentence


def test_features_of_the_towers_tell_tables_apart_too(shop):
    shop.write()
    train, test = shop.read()
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(len(rows), 12)).astype(np.float32) for rows in (train, test)]
    alike = examine(train, config_of(), test=test, features=features)
    assert alike.of(Level.DOUBTFUL) == []
    features[1][:, 3] += 2
    [finding] = examine(train, config_of(), test=test, features=features).of(Level.DOUBTFUL)
    assert finding.sentence.startswith("By their features test and training rows can be told apart")


def test_titles_that_repeat_are_doubtful_where_nothing_else_is_said(shop):
    few = list(shop.train)[:40]
    for row_id in few:
        shop.train[row_id][0] = "svg icons"
    [finding] = found_in(shop, "repeated-titles")
    assert finding.level == Level.NOTE
    for row_id in few:
        shop.train[row_id][1] = ""
    [finding] = found_in(shop, "repeated-titles")
    assert finding.level == Level.DOUBTFUL
    assert set(finding.ids) == set(few)
    assert "'svg icons' stands there 40 times" in finding.sentence


def test_the_label_copied_into_the_texts(shop):
    for cells in shop.train.values():
        cells[1] += f" Category: {cells[2]}"
    [finding] = found_in(shop, "label-in-text")
    assert len(finding.ids) == len(shop.train)
    assert "is the label copied" in finding.sentence
    shop.train = {row_id: [cells[0], cells[2], cells[2]] for row_id, cells in shop.train.items()}
    [finding] = found_in(shop, "answer-in-texts")
    assert finding.level == Level.WRONG


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        ({"Mugs": 20, "mugs ": 3}, [["Mugs", "mugs "]]),
        ({"T-shirts": 20, "T shirts": 20}, [["T shirts", "T-shirts"]]),
        ({"Bed & Bath": 9, "Bed and Bath": 2}, [["Bed & Bath", "Bed and Bath"]]),
        ({"Accessories": 30, "Accesories": 2}, [["Accessories", "Accesories"]]),
        ({"Jacket": 20, "Jackets": 20}, [["Jacket", "Jackets"]]),
        ({"Lighting": 30, "Lihgting": 1}, [["Lighting", "Lihgting"]]),
        ({"Jackets": 20, "Packets": 20, "Men / Tees": 9, "Women / Tees": 9}, []),
        ({"Size 7 shoes": 50, "Size 8 shoes": 2, "Pans": 50, "Pens": 1}, []),
        ({"Bracelets": 50, "Bracelet sets": 2, "Stationery": 20, "Stationary": 20}, []),
    ],
)
def test_labels_that_are_hardly_two(labels, alike):
    found = near_equal([label for label, count in labels.items() for _ in range(count)])
    assert [sorted(group) for group, _ in found] == [sorted(group) for group in alike]


def test_in_short_only_what_matters_is_said(shop):
    def said():
        shop.write()
        train, _ = shop.read()
        config = config_of()
        return list(doubts(Split(train, assign_folds(train, 3, 0)), config))

    assert said() == []
    ids = list(shop.train)
    for first, second in zip(ids[:30], ids[30:60], strict=True):
        shop.train[second][:2] = [shop.train[first][0], f"{shop.train[first][1]} x"]
    for row_id in ids[100:115]:
        shop.train[row_id][:2] = ["", ""]
        shop.picture(row_id).unlink()
    for row_id in ids[120:123]:
        shop.train[row_id][2] = "Lightning"
    alike, neither, leak = said()
    assert alike == "classes that look like one: 'Lighting' and 'Lightning'"
    assert neither.startswith("15 rows (7.5 %) have neither")
    assert "have the text of a row of another fold" in leak
    assert int(leak.split()[0]) > 0.6 * 60
    assert np.all([sentence.isascii() for sentence in (alike, neither, leak)])
