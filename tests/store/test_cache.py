"""The cache folder: where it lies, and that it stays within its limit.

.venv/bin/python -m pytest tests/store/test_cache.py
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmclf.errors import ConfigError
from mmclf.store.cache import GIB, Cache, cache_folder, open_cache

DAY = 24 * 3600


def write(cache, name, size, days_ago=0.0) -> Path:
    path = cache.root / "features" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    used = time.time() - days_ago * DAY
    os.utime(path, (used, used))
    return path


def left(cache):
    return sorted(entry.path.name for entry in cache.entries())


def test_it_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MMCLF_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("MMCLF_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mmclf"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "mmclf"


def test_its_limit_is_a_number_of_gib(monkeypatch):
    monkeypatch.delenv("MMCLF_CACHE_GIB", raising=False)
    assert open_cache().limit == 20 * GIB
    monkeypatch.setenv("MMCLF_CACHE_GIB", "0.5")
    assert open_cache().limit == GIB // 2
    for wrong in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv("MMCLF_CACHE_GIB", wrong)
        with pytest.raises(ConfigError, match=rf"MMCLF_CACHE_GIB: found '{wrong}'.*0 to keep nothing"):
            open_cache()


def test_nothing_is_made_before_something_is_written(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    assert list(cache.entries()) == []
    assert cache.has_room(10)
    assert not cache.root.exists()


def test_a_limit_of_zero_keeps_nothing_and_says_nothing(tmp_path, capsys):
    cache = Cache(tmp_path, 0)
    assert not cache.has_room(1)
    assert capsys.readouterr().err == ""


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = Cache(tmp_path, 1000)
    for name, days in [("old", 3), ("older", 5), ("oldest", 9)]:
        write(cache, name, 300, days)
    assert cache.has_room(200)  # 900 are there; down to nine tenths of the limit
    assert left(cache) == ["old", "older"]


def test_what_is_in_use_stays_and_nothing_is_added_then(tmp_path, capsys):
    cache = Cache(tmp_path, 1000)
    write(cache, "now", 950)
    assert not cache.has_room(100)
    assert not cache.has_room(10)  # it doesn't look again and again
    assert left(cache) == ["now"]
    said = capsys.readouterr().err
    assert said.count("MMCLF_CACHE_GIB") == 1
    assert str(tmp_path) in said


def test_one_entry_larger_than_the_limit_does_not_empty_it(tmp_path):
    cache = Cache(tmp_path, 1000)
    write(cache, "old", 500, 3)
    assert not cache.has_room(5000)
    assert left(cache) == ["old"]
    assert cache.has_room(100)


def test_descriptions_outlive_their_entries(tmp_path):
    cache = Cache(tmp_path, 1000)
    write(cache, "space.json", 10, 9)
    write(cache, "old", 980, 3)
    assert cache.has_room(500)
    assert left(cache) == ["space.json"]


def test_drafts_without_a_writer_are_removed(tmp_path):
    cache = Cache(tmp_path, 10_000)
    write(cache, ".a-xyz", 10, 2)
    write(cache, ".b-xyz", 10)
    assert cache.has_room(1)
    assert left(cache) == [".b-xyz"]


def test_the_limit_holds_when_many_processes_add(tmp_path):
    """Each looks again after a small share of the limit, so that they overshoot by no more than that."""
    caches = [Cache(tmp_path, 64_000) for _ in range(4)]
    for number in range(400):
        cache = caches[number % 4]
        if cache.has_room(500):
            write(cache, f"{number}", 500)
    used = sum(entry.size for entry in caches[0].entries())
    assert 60_000 < used <= 64_000 + 4 * 1000


def test_a_use_is_noted_to_the_hour(tmp_path):
    cache = Cache(tmp_path, 1000)
    old, recent = write(cache, "old", 1, 3), write(cache, "recent", 1, 0.5 / 24)
    before = recent.stat().st_mtime
    cache.touch(old)
    cache.touch(recent)
    cache.touch(cache.root / "gone")
    assert time.time() - old.stat().st_mtime < DAY
    assert recent.stat().st_mtime == before


def test_a_failed_write_is_said_once(tmp_path, capsys):
    cache = Cache(tmp_path, 1000)

    def fail(path):
        raise OSError(28, "No space left on device")

    assert not cache.put(tmp_path / "a", 10, fail)
    assert not cache.put(tmp_path / "b", 10, lambda path: path.write_text("never asked for"))
    assert not list(tmp_path.iterdir())
    assert not cache.has_room(1)
    assert capsys.readouterr().err.count("No space left on device") == 1


@pytest.mark.parametrize(
    ("total", "free", "has_room"),
    [(1000 * GIB, 3 * GIB, True), (1000 * GIB, 2 * GIB, False), (10 * GIB, GIB, True), (10 * GIB, GIB // 2, False)],
)
def test_a_little_of_the_disk_is_left_to_others(tmp_path, monkeypatch, total, free, has_room):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(total=total, free=free))
    assert Cache(tmp_path / "cache", GIB).has_room(1000) is has_room
