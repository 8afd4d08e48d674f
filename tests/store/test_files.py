"""python -m pytest tests/store/test_files.py"""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from mmclf.errors import BundleError
from mmclf.store.files import atomic_path, read_header, write_header


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


# descriptions


class Note(BaseModel):
    text: str
    number: int = 1


def refused(path) -> str:
    with pytest.raises(BundleError) as caught:
        read_header(path, Note, BundleError, "is it complete?")
    return str(caught.value)


def test_a_description_is_read_as_it_was_written(tmp_path):
    for note in (Note(text="größer \u2028 \U0001f600"), Note(text="", number=2**60)):
        write_header(tmp_path / "a.json", note)
        assert read_header(tmp_path / "a.json", Note, BundleError, "") == note


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("größer".encode("latin-1"), "is damaged: 'utf-8' codec can't decode byte 0xf6"),
        (b"", "is damaged: Expecting value"),
        (b"[1]", "is damaged: "),
        (b"7", "is damaged: "),
        (b"[" * 100_000, "is damaged: "),
        (b'{"text": ' + b"9" * 5000 + b"}", "is damaged: Exceeds the limit"),
        (b'{"text": "\\ud800"}', "Invalid JSON: unexpected end of hex escape"),
        (b'{"text": 3}', "text: Input should be a valid string; written by another version of mmclf?"),
        (b'{"text": "a", "number": 1e400}', "number: "),
        (b'{"text": "a"}', "has no sha256"),
        (b'{"text": "a", "sha256": 5}', "was changed or damaged after it was written"),
        (b" " * (2**24 + 1), "is larger than 16,777,216 bytes, so mmclf didn't write it"),
    ],
)
def test_a_description_that_is_none_is_named(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    assert refused(tmp_path / "a.json").startswith(f"{tmp_path / 'a.json'}: {said}")
