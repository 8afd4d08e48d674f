"""What is remembered of how long things took.

.venv/bin/python -m pytest tests/store/test_speeds.py
"""

import pytest

from mmclf.store.cache import GIB, Cache
from mmclf.store.listing import list_spaces
from mmclf.store.speeds import MOST, NAME, recall_speeds, remember_speeds


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", GIB)


def test_speeds_are_remembered_for_each_machine(cache):
    assert recall_speeds(cache, "cpu") == {}
    remember_speeds(cache, "cpu", {"pictures": 0.5})
    remember_speeds(cache, "GPU", {"pictures": 0.01})
    assert recall_speeds(cache, "cpu") == {"pictures": 0.5}
    assert recall_speeds(cache, "GPU") == {"pictures": 0.01}


def test_a_new_measurement_counts_half(cache):
    remember_speeds(cache, "cpu", {"pictures": 0.5, "texts": 1.0})
    remember_speeds(cache, "cpu", {"pictures": 0.7})
    assert recall_speeds(cache, "cpu") == pytest.approx({"pictures": 0.6, "texts": 1.0})


def test_the_oldest_kinds_go(cache):
    remember_speeds(cache, "cpu", {f"kind {number}": 1.0 for number in range(MOST)})
    remember_speeds(cache, "cpu", {"kind 0": 1.0, "new": 1.0})
    known = recall_speeds(cache, "cpu")
    assert len(known) == MOST
    assert {"kind 0", "new"} <= set(known)
    assert "kind 1" not in known


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cpu": 3}', '{"cpu": {"a": "x", "b": -1, "c": NaN}}'])
def test_a_damaged_file_is_as_none(cache, text):
    cache.root.mkdir()
    (cache.root / NAME).write_text(text)
    assert recall_speeds(cache, "cpu") == {}
    remember_speeds(cache, "cpu", {"pictures": 0.5})
    assert recall_speeds(cache, "cpu")["pictures"] == 0.5


def test_a_cache_that_keeps_nothing_has_no_file(tmp_path):
    remember_speeds(Cache(tmp_path / "cache", 0), "cpu", {"pictures": 0.5})
    assert not (tmp_path / "cache").exists()


def test_the_file_is_no_space_of_the_cache(cache):
    remember_speeds(cache, "cpu", {"pictures": 0.5})
    assert list_spaces(cache) == []
