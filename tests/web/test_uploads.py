"""Files that strangers send: read, or refused in a sentence; nothing lands outside of the folder.

.venv/bin/python -m pytest tests/web/test_uploads.py
"""

import io
import re
import stat
import zipfile
from pathlib import Path

import pytest

from mmclf.config import DataConfig
from mmclf.errors import MmclfError, RowError, TableError, TooLargeError
from mmclf.scoring.limits import Limits
from mmclf.web.uploads import MOST_LISTED, Upload, last_part

CSV = b"id,title,description\na,red shoe,soft\nb,hat,\n"
TEXTS = ("title", "description")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "inside"
    made.mkdir()
    return made


def packed(files: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def send(upload: Upload, files: dict[str, bytes]) -> Upload:
    for name, content in files.items():
        with upload.receive(name) as write:
            for start in range(0, len(content), 7):
                write(content[start : start + 7])
    return upload


def read(place: Path | Upload, files: dict[str, bytes], **limits):
    """What an upload of files holds; into a folder, or into one that has begun."""
    upload = place if isinstance(place, Upload) else Upload(place, Limits(**limits))
    return send(upload, files).read(DataConfig(), TEXTS)


def everything(tmp_path) -> set[str]:
    return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()}


def test_a_table_and_its_pictures(folder):
    found = read(folder, {"a_2.png": b"2", "t.csv": CSV, "a.jpg": b"1", "other.png": b"3"})
    assert found.rows.ids == ["a", "b"]
    assert found.rows.texts == ["red shoe soft", "hat"]
    assert found.rows.titles == ["red shoe", "hat"]
    assert found.rows.pictures == [("a.jpg", "a_2.png"), ()]
    assert (found.rows.picture_source / "a_2.png").read_bytes() == b"2"
    assert found.notes == ("1 pictures belong to no row",)


def test_a_table_alone(folder):
    assert read(folder, {"t.csv": CSV}).rows.pictures == [(), ()]


def test_pictures_alone_are_a_row_each(folder):
    found = read(folder, {"x/a.jpg": b"1", "a_1.png": b"2", "b.gif": b"3", "c_1.gif": b"4"})
    assert found.rows.ids == ["a", "a_1", "c"]
    assert found.rows.pictures == [("a.jpg",), ("a_1.png",), ("c_1.gif",)]
    assert found.rows.texts == ["", "", ""]
    assert found.notes == ("1 pictures were left out: without a table, one is a .jpg, .png or .webp",)


def test_an_archive_is_the_same(folder):
    inside = {"shop/": b"", "shop/t.csv": CSV, "shop/img/a.jpg": b"1", "shop/notes.txt": b"x", "shop/b.zip": b"y"}
    found = read(folder, {"shop.zip": packed(inside | {"__MACOSX/shop/._a.jpg": b"m", "shop/.hidden.png": b"h"})})
    assert found.rows.pictures == [("a.jpg",), ()]
    assert found.notes == ("2 files of the archive were left out: no pictures",)
    assert not (folder / "shop.zip").exists()


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/evil.png", "..\\..\\evil.png", "C:\\evil.png", "a/../../evil.png"]
)
@pytest.mark.parametrize("in_archive", [True, False])
def test_no_name_leads_out_of_the_folder(tmp_path, folder, name, in_archive):
    files = {"x.zip": packed({name: b"1"})} if in_archive else {name: b"1"}
    assert read(folder, files).rows.pictures == [("evil.png",)]
    assert everything(tmp_path) == {"inside/pictures/evil.png"}


def test_a_link_in_an_archive_is_a_file_that_is_no_picture(tmp_path, folder):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("a.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/hostname")
    read(folder, {"x.zip": out.getvalue()})
    kept = folder / "pictures" / "a.png"
    assert not kept.is_symlink()
    assert kept.read_bytes() == b"/etc/hostname"


def test_a_table_names_no_file_outside(tmp_path, folder):
    (tmp_path / "secret.png").write_bytes(b"s")
    found = read(folder, {"t.csv": b"id,title,description\n../../secret,x,y\nok,x,y\n", "ok.png": b"1"})
    assert found.rows.pictures == [(), ("ok.png",)]


@pytest.mark.parametrize("name", ["", "..", "a/", ". .", "a\nb.png", "x" * 300 + ".png", "\u202egnp.exe"])
def test_a_name_that_is_none(name):
    with pytest.raises(RowError, match="can't be the name of a file here"):
        last_part(name)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.exe": b"1"}, r"^a\.exe: is neither a picture, a \.csv nor a \.zip$"),
        ({"t.csv.gz": b"1"}, r"^t\.csv\.gz: is neither"),
        ({"x/a.png": b"1", "y/a.png": b"2"}, r"^a\.png: is there twice, perhaps in two folders"),
        ({"a.csv": CSV, "b.csv": CSV}, r"^b\.csv: is a second table beside a\.csv; send one at a time$"),
        ({"a.csv": CSV, "b.zip": packed({"b.csv": CSV})}, r"^b\.csv: is a second table beside a\.csv"),
        ({"x.zip": packed({"p/a.png": b"1", "q/a.png": b"2"})}, r"^a\.png: is there twice"),
        ({"x.zip": b"no archive"}, r"^x\.zip: is no zip archive, or its end is missing$"),
        ({"x.zip": packed({"a.png": b"12345"})[:-30]}, r"^x\.zip: is no zip archive, or its end is missing$"),
        ({"x.zip": packed({"a.png": b"1" * 90}).replace(b"a.png", b"b.png", 1)}, r"^x\.zip: can't be unpacked \("),
        ({"x.zip": packed({"a.png": b"1" * 90}, zipfile.ZIP_LZMA)}, r"^x\.zip: a\.png is encrypted or packed in an"),
        ({"x.zip": packed({"a.txt": b"1"})}, r"^there is neither a table nor a picture in it"),
        ({}, r"^there is neither a table nor a picture in it"),
        ({"t.csv": b"name\nx\n"}, r"t\.csv: no id column 'id'"),
        ({"t.csv": b"id,title\na,b\n"}, r"t\.csv: no column 'description' \(data\.text_cols\)"),
        ({"t.csv": CSV, "zz.png": b"1"}, r"none of its 1 pictures belongs to a row"),
    ],
)
def test_what_cannot_be_used(folder, files, said):
    upload = Upload(folder, Limits())
    with pytest.raises(MmclfError) as error:
        read(upload, files)
    message = upload.clean(str(error.value))
    assert str(folder) not in message
    assert re.search(said, message), message


@pytest.mark.parametrize(
    ("files", "limits", "said"),
    [
        ({"a.png": b"1" * 11}, {"picture_bytes": 10}, r"^a\.png: is larger than"),
        ({"a.png": b"1" * 9, "b.png": b"1" * 9}, {"body_bytes": 10}, r"^all files together are larger than"),
        ({"x.zip": packed({"a.png": b"0" * 10**6})}, {"body_bytes": 10**5}, r"^a(\.png|ll files together).* larger"),
        ({"x.zip": packed({"a.png": b"0" * 10**6})}, {"picture_bytes": 10**5}, r"^a\.png: is larger than"),
        ({"t.csv": CSV}, {"rows": 1}, r"^2 rows are too many \(at most 1\)"),
        ({"t.csv": CSV}, {"characters": 12}, r"^row 1: 13 characters of text are too many \(at most 12\)$"),
        ({"t.csv": CSV}, {"all_characters": 15}, r"^16 characters are too many \(at most 15\)"),
        ({"t.csv": CSV, "a.png": b"1", "a_1.png": b"2"}, {"pictures": 1}, r"^row 1: 2 pictures are too many"),
    ],
)
def test_what_is_too_large(folder, files, limits, said):
    with pytest.raises(TooLargeError, match=said):
        read(folder, files, **limits)


def test_what_is_refused_leaves_nothing_and_counts_for_nothing(folder):
    upload = send(Upload(folder, Limits(body_bytes=10, picture_bytes=8)), {"a.png": b"1"})
    with pytest.raises(TooLargeError), upload.receive("b.png") as write:
        write(b"1" * 9)
    with upload.receive("b.png") as write:
        write(b"1" * 8)
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["a.png", "b.png"]


def test_a_list_of_contents_that_is_too_long_is_not_opened(folder, monkeypatch):
    """Python would make objects of all of it first."""
    content = bytearray(packed({"a.png": b"1"}))
    end = content.rfind(b"PK\x05\x06")
    content[end + 12 : end + 16] = (MOST_LISTED + 1).to_bytes(4, "little")
    with pytest.raises(RowError, match=r"^x\.zip: lists too many files"):
        read(folder, {"x.zip": bytes(content)})


def test_an_archive_of_the_large_kind_is_not_opened(folder):
    """Its list may be of any length, whatever the usual place says."""
    content = packed({"a.png": b"1"})
    end = content.rfind(b"PK\x05\x06")
    large = content[:end] + b"PK\x06\x07" + bytes(16) + content[end:]
    with pytest.raises(RowError, match=r"^x\.zip: lists too many files"):
        read(folder, {"x.zip": large})


def test_an_encrypted_file_is_named(folder):
    content = bytearray(packed({"a.png": b"1"}))
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.find(mark) + offset] |= 1
    with pytest.raises(RowError, match=r"^x\.zip: a\.png is encrypted"):
        read(folder, {"x.zip": bytes(content)})


def test_a_table_of_no_rows_is_an_error(folder):
    with pytest.raises(TableError, match="has a header but no rows"):
        read(folder, {"t.csv": b"id,title,description\n"})
