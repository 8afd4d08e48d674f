"""Vectors on the shelf: kept whole, found again, and damage noticed.

.venv/bin/python -m pytest tests/store/test_vectors.py
"""

import subprocess
import sys

import numpy as np
import pytest

from mmclf.store import vectors as module
from mmclf.store.cache import Cache
from mmclf.store.vectors import VectorStore, make_key, stored_rows

KEYS = [make_key("row", str(n)) for n in range(10)]
VALUES = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


def filled(cache) -> VectorStore:
    shelf = VectorStore(cache, {"kind": "test"}, 5)
    shelf.put(KEYS, VALUES)
    shelf.flush()
    return shelf


def get(cache, keys=KEYS, width=5, **description):
    out = np.full((len(keys), width), -1, dtype=np.float32)
    found = VectorStore(cache, {"kind": "test"} | description, width).get(keys, out)
    return found, out


def files(cache):
    return sorted(cache.root.glob("features/*/*.safetensors"))


def test_vectors_are_found_again_to_the_bit(cache):
    filled(cache)
    found, out = get(cache)
    assert found.all()
    assert np.array_equal(out, VALUES)


def test_what_is_not_there_stays_as_it_was(cache):
    filled(cache)
    keys = [make_key("other"), KEYS[7], KEYS[2]]
    found, out = get(cache, keys)
    assert found.tolist() == [False, True, True]
    assert np.array_equal(out[1:], VALUES[[7, 2]])
    assert (out[0] == -1).all()


def test_another_description_or_width_is_another_shelf(cache):
    filled(cache)
    assert not get(cache, precision="bfloat16")[0].any()
    assert not get(cache, width=4)[0].any()
    assert get(cache)[0].all()
    # a note is for people only
    assert VectorStore(cache, {"kind": "test"}, 5, note="x").get(KEYS, np.empty((10, 5), dtype=np.float32)).all()


def test_nothing_is_written_before_a_flush_and_then_at_once(cache, monkeypatch):
    shelf = VectorStore(cache, {"kind": "test"}, 5)
    shelf.put(KEYS[:3], VALUES[:3])
    assert files(cache) == []
    monkeypatch.setattr(module, "FLUSH_ROWS", 5)
    shelf.put(KEYS[3:], VALUES[3:])
    (path,) = files(cache)
    assert stored_rows(path) == 10
    shelf.flush()
    assert files(cache) == [path]
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted([path.name, "space.json"])


def test_a_damaged_row_is_missing_and_the_others_are_not(cache):
    filled(cache)
    (path,) = files(cache)
    content = bytearray(path.read_bytes())
    place = bytes(content).index(VALUES[4].tobytes())
    content[place + 3] ^= 1
    path.write_bytes(content)
    found, out = get(cache)
    assert np.flatnonzero(~found).tolist() == [4]
    assert np.array_equal(out[found], VALUES[found])
    shelf = VectorStore(cache, {"kind": "test"}, 5)
    shelf.put(KEYS[4:5], VALUES[4:5])
    shelf.flush()
    found, out = get(cache)
    assert found.all()
    assert np.array_equal(out, VALUES)


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other"])
def test_a_damaged_file_is_removed_and_its_rows_are_missing(cache, damage):
    filled(cache)
    (path,) = files(cache)
    whole = path.read_bytes()
    if damage == "other":
        from safetensors.numpy import save_file

        save_file({"keys": np.zeros((2, 16), dtype=np.uint8)}, path)
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"\xff" * 500}[damage])
    # a file of something else is only noticed where its keys are asked for
    keys = [bytes(16), *KEYS] if damage == "other" else KEYS
    found, _ = get(cache, keys)
    assert not found.any()
    assert files(cache) == []
    filled(cache)
    assert get(cache)[0].all()


def test_processes_share_a_shelf(cache, tmp_path):
    """Two write other rows at the same time; a third finds all of them."""
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from mmclf.store.cache import Cache\n"
        "from mmclf.store.vectors import VectorStore, make_key\n"
        "shelf = VectorStore(Cache(Path(sys.argv[1]), 10**9), {'kind': 'test'}, 5)\n"
        "for n in range(int(sys.argv[2]), 60, 2):\n"
        "    shelf.put([make_key('row', str(n))], np.full((1, 5), n, dtype=np.float32))\n"
        "    shelf.flush()\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(cache.root), str(first)]) for first in (0, 1)]
    assert [writer.wait() for writer in writers] == [0, 0]
    found, out = get(cache, [make_key("row", str(n)) for n in range(60)])
    assert found.all()
    assert out[:, 0].tolist() == list(range(60))


def test_a_cache_of_size_zero_keeps_nothing(tmp_path):
    cache = Cache(tmp_path, 0)
    filled(cache)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_keeping(tmp_path, capsys):
    (tmp_path / "cache").write_text("a file")
    filled(Cache(tmp_path / "cache", 10**9))
    assert "going on without keeping" in capsys.readouterr().err
