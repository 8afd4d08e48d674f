"""What is planted is found, and nothing else.

.venv/bin/python -m pytest tests/checking/test_planted_faults.py
"""

import csv
import io
from collections import defaultdict

import pytest

from mmclf.checking.examination import examine
from mmclf.checking.finding import Level
from tests.faults import config_of, draw_shop, plant_faults


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    shop = draw_shop(tmp_path_factory.mktemp("sound") / "shop")
    shop.write()
    return shop


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    shop = draw_shop(tmp_path_factory.mktemp("faulty") / "shop", seed=1)
    plant_faults(shop)
    shop.write()
    return shop


def test_a_sound_catalogue_has_no_finding(sound):
    train, test = sound.read()
    found = examine(train, config_of(), test=test)
    assert [each.sentence for each in found.findings] == []


def test_all_of_forty_faults_are_found_and_none_is_invented(faulty):
    assert faulty.faults == 40
    train, test = faulty.read()
    named = defaultdict(set)
    for each in examine(train, config_of(), test=test).findings:
        named[each.key].update(each.ids)
    assert named == faulty.expected


def test_what_is_wrong_is_told_from_what_is_doubtful(faulty):
    train, test = faulty.read()
    found = examine(train, config_of(), test=test)
    assert {each.key for each in found.of(Level.WRONG)} == {"small-classes", "near-equal-labels", "contradictions"}
    mends = {each.key: each.mend for each in found.findings}
    assert mends["small-classes"] == "add rows to them, or leave them out"
    assert mends["oversized-pictures"] == "data.max_megapixels=2"
    stricter = examine(train, config_of(on_bad_image="error"))
    assert "unreadable-pictures" in {each.key for each in stricter.of(Level.WRONG)}


def test_duplicates_leak_across_folds_until_their_groups_are_given(tmp_path):
    shop = draw_shop(tmp_path / "shop", seed=2)
    ids = list(shop.train)
    for first, second in zip(ids[:40], ids[40:80], strict=True):
        shop.train[second] = [f"{shop.train[first][0]} again", *shop.train[first][1:]]
    shop.write()
    train, _ = shop.read()
    found = examine(train, config_of(), groups_csv="there/groups.csv")
    [leak] = [each for each in found.findings if each.key == "leak-across-folds"]
    assert leak.level == Level.WRONG
    assert leak.mend == "data.groups_csv=there/groups.csv"
    assert set(leak.ids) <= set(ids[:80])
    rows = list(csv.DictReader(io.StringIO(found.groups_csv())))
    group_of = {row["id"]: row["group"] for row in rows}
    assert [group_of[i] for i in ids[:40]] == [group_of[i] for i in ids[40:80]] == ids[:40]
    assert [group_of[i] for i in ids[80:]] == ids[80:]
    groups = tmp_path / "groups.csv"
    groups.write_text(found.groups_csv())
    mended, _ = shop.read(groups_csv=str(groups))
    again = examine(mended, config_of(groups_csv=str(groups)))
    assert not again.of(Level.WRONG)
    assert "kept-together" in {each.key for each in again.findings}
    assert again.groups_csv() == found.groups_csv()
