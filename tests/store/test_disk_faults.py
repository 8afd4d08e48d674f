"""Whatever write fails, the old file or the new one is there, and no draft.

.venv/bin/python -m pytest tests/store/test_disk_faults.py
"""

import contextlib
import errno
import os
import shutil

import numpy as np
import pytest
from pydantic import BaseModel
from safetensors.numpy import load_file, save_file

from mmclf.evaluation.probabilities import ProbabilityTable, read_table, write_parts
from mmclf.store.cache import Cache
from mmclf.store.failures import explain
from mmclf.store.files import atomic_folder, write_header
from mmclf.store.vectors import VectorStore, make_key

resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX")
CALLS = ("mkdir", "open", "chmod", "replace", "rename")


class Note(BaseModel):
    value: int


def table(value):
    return ProbabilityTable([f"p{i}" for i in range(300)], ("a", "b"), np.full((300, 2), value, np.float32))


def write_note(folder, value):
    write_header(folder / "note.json", Note(value=value))


def read_note(folder):
    return Note.model_validate_json((folder / "note.json").read_text()).value


def write_matrix(folder, value):
    table(value).write(folder / "oof.parquet")


def read_matrix(folder):
    return float(read_table(folder / "oof.parquet").probabilities[0, 0])


def write_scores(folder, value):
    with write_parts(folder / "p.parquet", folder / "s.csv", "id", "label") as write:
        write(table(value))


def read_scores(folder):
    assert len((folder / "s.csv").read_text().splitlines()) == 301
    return float(read_table(folder / "p.parquet").probabilities[0, 0])


def write_weights(folder, value):
    with atomic_folder(folder / "checkpoint") as draft:
        save_file({"w": np.full(4096, value, np.float32)}, draft / "weights.safetensors")
        write_header(draft / "meta.json", Note(value=value))


def read_weights(folder):
    weights = load_file(folder / "checkpoint" / "weights.safetensors")["w"]
    assert Note.model_validate_json((folder / "checkpoint" / "meta.json").read_text()).value == weights[0]
    return float(weights[0])


KINDS = {
    "header": (write_note, read_note),
    "matrix": (write_matrix, read_matrix),
    "scores": (write_scores, read_scores),
    "checkpoint": (write_weights, read_weights),
}


@contextlib.contextmanager
def files_of_at_most(size):
    """As on a full disk, a write beyond fails in the system itself, whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize(("kind", "size"), [(k, n) for k in KINDS for n in (0, 4, 1000) if (k, n) != ("header", 1000)])
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, kind, size):
    write, read = KINDS[kind]
    write(tmp_path, 1)
    before = names(tmp_path)
    with pytest.raises(OSError) as caught, files_of_at_most(size):
        write(tmp_path, 2)
    assert caught.value.errno == errno.EFBIG
    assert explain(caught.value).startswith(str(tmp_path))
    assert names(tmp_path) == before
    assert read(tmp_path) == 1
    write(tmp_path, 2)
    assert read(tmp_path) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("former", [True, False], ids=["former", "none"])
def test_each_call_that_fails_leaves_old_or_new(tmp_path, monkeypatch, kind, former):
    """No space for the nth new folder, draft, mode or name, for every n."""
    write, read = KINDS[kind]
    if former:
        write(tmp_path / "0", 1)
    calls, fails_at = 0, None
    said = []

    def counted(call):
        def run(*given, **named):
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), given[0])
            return call(*given, **named)

        return run

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    shutil.copytree(tmp_path / "0", tmp_path / "count") if former else (tmp_path / "count").mkdir()
    calls = 0
    write(tmp_path / "count", 2)
    needed = calls
    assert needed >= 3
    for n in range(1, needed + 1):
        folder = tmp_path / str(n)
        shutil.copytree(tmp_path / "0", folder) if former else folder.mkdir()
        before = names(folder)
        calls, fails_at = 0, n
        try:
            write(folder, 2)
        except OSError as error:
            said.append(explain(error))
        fails_at = None
        # a former folder whose files can't be deleted stays aside, rather than that the new one fails for it
        assert not [name for name in names(folder) if name[0] == "." and "-former" not in name]
        if former:
            assert [name for name in names(folder) if name[0] != "."] == before
            assert read(folder) in (1, 2)
        write(folder, 2)
        assert read(folder) == 2
    # of a folder that is there already it doesn't matter whether it can be made, nor whether the old one can go
    assert len(said) >= 3
    assert all("no space left" in sentence for sentence in said)


def test_a_cache_whose_disk_fills_up_goes_on_without_keeping(tmp_path, capsys):
    cache = Cache(tmp_path / "cache", 2**30)
    keys = [make_key(str(i)) for i in range(4)]
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    store = VectorStore(cache, {"kind": "test"}, 4)
    store.put(keys[:2], values[:2])
    store.flush()
    with files_of_at_most(64):
        store.put(keys[2:], values[2:])
        store.flush()
    assert capsys.readouterr().err.count("can't write to the cache") == 1
    out = np.zeros((4, 4), np.float32)
    assert list(VectorStore(cache, {"kind": "test"}, 4).get(keys, out)) == [True, True, False, False]
    assert np.array_equal(out[:2], values[:2])
    assert not [name for name in names(tmp_path) if name.rpartition("/")[2].startswith(".")]
