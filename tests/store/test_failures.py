"""python -m pytest tests/store/test_failures.py"""

import errno
import os
import shutil

import pytest
from safetensors import SafetensorError

from mmclf.errors import CheckpointError
from mmclf.store.failures import blame, explain, free_bytes

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def raised(block, error):
    with pytest.raises(type(error)) as caught, block:
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "x", "/a/b"), "/a/b: no space left; make room there"),
        (OSError(errno.ENOSPC, "x", "/from", None, "/to"), "/to: no space left"),
        (OSError(errno.EROFS, "x", "/a"), "/a: read-only file system; name a place on a disk that can be written"),
        (PermissionError(errno.EACCES, "x", b"/a"), "/a: permission denied; change its permissions"),
        (FileExistsError(errno.EEXIST, "x", "/a"), "/a: file exists; delete or rename what is there"),
        (NotADirectoryError(errno.ENOTDIR, "x", "/a"), "/a: not a directory; a file is in a folder's place"),
        (OSError(errno.EIO, "x"), "a file: input/output error; the disk may be failing"),
        (OSError(errno.ELOOP, "x", "/a"), "/a: too many levels of symbolic links"),
        (shutil.Error([("/a", "/b", f"[Errno {errno.ENOSPC}] No space left: '/b'")]), "/b: no space left; make room"),
        (shutil.Error("'/a' and '/a' are the same file"), "'/a' and '/a' are the same file"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/a']"),
            "found in ['/a']; set TMPDIR",
        ),
        (RuntimeError("write failed: No space left on device (28)"), "no space left; make room"),
    ],
)
def test_a_failure_of_the_disk_is_a_sentence(error, said):
    assert said in explain(error)


@pytest.mark.parametrize(
    "error",
    [
        TypeError("unsupported operand"),
        KeyError("a"),
        OSError("a library's own words"),
        OSError(errno.EBADF, "Bad file descriptor"),
        RuntimeError("[Errno 5] of something else"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ],
    ids=repr,
)
def test_any_other_error_is_a_programs(error):
    assert explain(error) is None


def test_what_names_no_file_names_the_one_that_was_written(tmp_path):
    path = tmp_path / "a.csv"
    assert raised(blame(path), OSError(errno.ENOSPC, "No space left on device")).filename == str(path)
    with pytest.raises(OSError, match=r"a\.csv") as caught, blame(path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC
    assert explain(caught.value).startswith(f"{path}: no space left")


def test_what_names_a_file_or_is_no_failure_of_the_disk_stays_as_it_is(tmp_path):
    for error in (OSError(errno.ENOSPC, "x", "other"), ValueError("x"), SafetensorError("header too large")):
        assert raised(blame(tmp_path), error) is error
    named = CheckpointError("says itself what is the matter (os error 2)")
    assert raised(blame(tmp_path), named) is named
    assert raised(blame(tmp_path), OSError(errno.ENOSPC, "x", "other")).filename == "other"


def test_a_drafts_name_is_that_of_what_it_becomes(tmp_path):
    path, draft = tmp_path / "a.csv", tmp_path / ".a.csv-1.csv"
    for error in (OSError(errno.ENOSPC, "x", str(draft)), OSError(errno.ENOSPC, "x", "/from", None, str(draft))):
        assert explain(raised(blame(path, draft), error)).startswith(f"{path}: no space left")
    other = OSError(errno.ENOSPC, "x", "/other")
    assert explain(raised(blame(path, draft), other)).startswith("/other: ")


def test_a_full_disk_is_looked_for_where_no_file_is_named(tmp_path, monkeypatch):
    full = tmp_path / "full"
    monkeypatch.setenv("TMPDIR", str(full))
    monkeypatch.setattr("mmclf.store.failures.free_bytes", lambda folder: 0 if folder == full else 2**30)
    assert explain(FULL).startswith(f"the temporary folder {full}: no space left")


def test_free_bytes_of_a_folder_that_does_not_exist_yet(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0
