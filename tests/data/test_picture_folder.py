"""What lies in a folder under the name of a picture, and isn't one.

.venv/bin/python -m pytest tests/data/test_picture_folder.py
"""

import os
import socket

import pytest

from mmclf.config import DataConfig
from mmclf.data.catalog import match_pictures, read_catalog
from mmclf.data.picture_folder import list_pictures
from mmclf.errors import PictureError
from mmclf.workflows.tables import open_readable, read_rows


@pytest.fixture
def folder(tmp_path):
    """A picture, links of every kind, and what is no file at all."""
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("a password")
    (root / "a.jpg").write_bytes(b"a picture")
    (root / "b.jpg").symlink_to("a.jpg")
    (root / "c.jpg").symlink_to(tmp_path / "secret.txt")
    (root / "d.jpg").symlink_to("d.jpg")
    (root / "e.jpg").symlink_to("nowhere.jpg")
    (root / "f.jpg").mkdir()
    (root / "g.jpg").symlink_to(tmp_path)
    (root / "notes.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(root / "h.jpg")
    return root


def test_links_that_lead_out_are_followed_only_where_that_is_asked_for(folder):
    assert sorted(list_pictures(folder, follow_links=False).names) == ["a.jpg", "b.jpg"]
    assert sorted(list_pictures(folder, follow_links=True).names) == ["a.jpg", "b.jpg", "c.jpg"]
    assert match_pictures(folder, ["a", "b", "c", "d"]) == [("a.jpg",), ("b.jpg",), (), ()]
    assert match_pictures(folder, ["c"], follow_links=True) == [("c.jpg",)]


def test_what_is_left_out_is_named_with_what_it_is(folder, monkeypatch):
    monkeypatch.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("i.jpg")
    assert list_pictures(folder, follow_links=False).left_out == (
        ("c.jpg", "a link out of the folder"),
        ("d.jpg", "a link that leads nowhere"),
        ("e.jpg", "a link that leads nowhere"),
        ("f.jpg", "a folder"),
        ("g.jpg", "a link to a folder"),
        ("h.jpg", "a pipe"),
        ("i.jpg", "a socket"),
    )


def test_the_warning_is_one_line(folder):
    assert list_pictures(folder, follow_links=False).warning() == (
        f"{folder}: 6 entries named like pictures are left out: c.jpg (a link out of the folder), d.jpg (a link that "
        "leads nowhere), e.jpg (a link that leads nowhere) and 3 more; data.follow_links=true follows links"
    )
    for name in "cdefg":
        path = folder / f"{name}.jpg"
        path.rmdir() if name == "f" else path.unlink()
    said = f"{folder}: 1 entry named like a picture is left out: h.jpg (a pipe)"
    assert list_pictures(folder, follow_links=False).warning() == said
    (folder / "h.jpg").unlink()
    assert list_pictures(folder, follow_links=False).warning() == ""


def test_a_catalogue_knows_what_was_left_out(folder, tmp_path):
    (tmp_path / "rows.csv").write_text("id,title\na,one\nc,two\n")
    catalog = read_catalog(tmp_path / "rows.csv", folder, DataConfig(), training=False)
    assert catalog.rows.pictures == [("a.jpg",), ()]
    assert "6 entries named like pictures are left out" in catalog.warnings[0]
    followed = read_catalog(tmp_path / "rows.csv", folder, DataConfig(follow_links=True), training=False)
    assert followed.rows.pictures == [("a.jpg",), ("c.jpg",)]


def test_a_folder_of_links_alone_says_how_to_follow_them(folder):
    for name in "ab":
        (folder / f"{name}.jpg").unlink()
    with pytest.raises(
        PictureError, match=r"6 entries .* are left out: c\.jpg .*data\.follow_links=true follows links$"
    ):
        match_pictures(folder, ["a"])


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert sorted(list_pictures(tmp_path / "link", follow_links=False).names) == ["a.jpg", "b.jpg"]


def test_the_jobs_say_it_once(folder, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("id,title\na,one\n")
    opened = open_readable(tmp_path / "rows.csv", folder)
    read_rows(opened, folder, DataConfig(), ["title"])
    assert capsys.readouterr().err.count("warning: ") == 1
