"""python -m pytest tests/store/test_files.py"""

import os
from pathlib import Path

import pytest

from mmclf.store.files import atomic_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.csv"
    with atomic_path(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        draft.write_text("whole")
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["a.csv"]


def test_a_draft_lies_beside_the_file_and_keeps_its_suffix(tmp_path):
    path = tmp_path / "a.parquet"
    with atomic_path(path) as draft:
        assert draft.parent == path.parent
        assert draft.suffix == ".parquet"
        assert draft.name.startswith(".a.parquet-")
        with atomic_path(path) as other:  # two writers don't share a draft
            assert other != draft


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_no_draft(tmp_path, error):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def interrupted():
        with atomic_path(path) as draft:
            draft.write_text("new, but")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_an_error_leaves_no_file_where_there_was_none(tmp_path):
    def interrupted():
        with atomic_path(tmp_path / "a.csv") as draft:
            draft.write_text("x")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        interrupted()
    assert names(tmp_path) == []


def test_an_old_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a long old text")
    with path.open() as reader, atomic_path(path) as draft:
        draft.write_text("new")
        assert reader.read() == "a long old text"
    assert path.read_text() == "new"


def test_missing_folders_are_made(tmp_path):
    with atomic_path(tmp_path / "x" / "y" / "a.csv") as draft:
        draft.write_text("1")
    assert (tmp_path / "x" / "y" / "a.csv").read_text() == "1"


def test_a_folder_in_the_files_place_stays(tmp_path):
    (tmp_path / "a.csv").mkdir()

    def write():
        with atomic_path(tmp_path / "a.csv") as draft:
            draft.write_text("1")

    with pytest.raises(OSError, match="directory"):
        write()
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").is_dir()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_others_may_read_the_file_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "a.csv") as draft:
            draft.write_text("1")
        Path(tmp_path / "plain").write_text("1")
        assert os.umask(mask) == mask  # the process keeps its umask
    finally:
        os.umask(before)
    assert (tmp_path / "a.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode
