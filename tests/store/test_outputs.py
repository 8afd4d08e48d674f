"""python -m pytest tests/store/test_outputs.py"""

import errno
import os
import shutil

import pytest

from mmclf.errors import OutputError
from mmclf.store.outputs import delivery, try_folder

ROOT = os.name == "posix" and os.geteuid() == 0


@pytest.mark.parametrize("name", ["there", "new", "new/deep/er"])
def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path, name):
    (tmp_path / "there").mkdir()
    try_folder(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("name", ["", "s3://shop/scored", "hdfs://a/b"])
def test_nothing_and_addresses_are_not_tried(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    try_folder(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/deeper"])
def test_a_file_in_its_place_is_named(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        OutputError, match=rf"^--out: {tmp_path}/file.*: (file exists|not a directory); .*another place$"
    ):
        try_folder(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_named_before_the_work(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match=rf"^--out: {tmp_path}/new: file too large; "):
            try_folder(tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(ROOT or os.name != "posix", reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied; change its permissions"):
        try_folder(tmp_path / "new")
    tmp_path.chmod(0o700)


def test_files_are_delivered_when_the_block_ends_well(tmp_path):
    with delivery(str(tmp_path / "out")) as made:
        (made.folder / "a.csv").write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]
    assert not made.folder.exists()
    with delivery() as made:
        (made.folder / "a.csv").write_text("1")
    assert not made.folder.exists()


def test_nothing_is_delivered_after_an_error(tmp_path):
    def fail():
        with delivery(str(tmp_path / "out")) as made:
            (made.folder / "a.csv").write_text("1")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert not (tmp_path / "out").exists()


def test_whole_files_are_delivered_though_what_follows_fails(tmp_path, capsys):
    """The store is full, after hours of scoring."""

    def fail():
        with delivery(str(tmp_path / "out")) as made:
            (made.folder / "a.csv").write_text("1")
            made.is_whole = True
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert (tmp_path / "out" / "a.csv").read_text() == "1"
    assert capsys.readouterr().err == f"note: the result files are in {tmp_path / 'out'} all the same\n"


def test_a_delivery_that_fails_says_where_the_files_are(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    def deliver():
        with delivery(str(tmp_path / "out")) as made:
            (made.folder / "a.csv").write_text("1")
            made.kept = "The result is safe in run 12"

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match=r"^--out: .*no space left; .*\. The result is safe in run 12$"):
        deliver()
    assert list((tmp_path / "out").iterdir()) == []
