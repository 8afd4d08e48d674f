"""What is no table, and headers that are none.

.venv/bin/python -m pytest tests/data/test_table.py
"""

import bz2
import gzip
import io
import lzma
import os
import zipfile

import pytest

from mmclf.data import csv_text
from mmclf.data.table import MOST_COLUMNS, open_table
from mmclf.errors import TableError


def refusal(path, key="--csv"):
    with pytest.raises(TableError) as caught:
        open_table(path, key)
    return str(caught.value)


# what is no file


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(os.devnull)], ids=["pipe", "device"])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path, make):
    path = tmp_path / "train.csv"
    make(path)
    said = "is a pipe or a device, not a file; save the table as a file and give that as --csv"
    assert refusal(path) == f"{path}: {said}"


def test_a_folder_is_refused_with_the_option_that_named_it(tmp_path):
    assert refusal(tmp_path, "data.groups_csv") == f"{tmp_path}: is a folder; give a CSV as data.groups_csv"


@pytest.mark.parametrize(("name", "reason"), [("a\0b.csv", "embedded null byte"), ("a" * 5000, "File name too long")])
def test_a_name_that_no_file_can_have(name, reason):
    assert refusal(name) == f"{name}: can't be read: {reason}"


def test_a_file_below_a_file(tmp_path):
    (tmp_path / "train.csv").touch()
    assert refusal(tmp_path / "train.csv" / "x").endswith("can't be read: Not a directory")


def test_a_link_to_a_table_is_read(tmp_path):
    (tmp_path / "train.csv").write_text("id\na\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "train.csv")
    assert open_table(tmp_path / "link.csv").frame["id"].tolist() == ["a"]


# headers


def test_more_columns_than_a_spreadsheet_has_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("id," + ",".join(f"c{number}" for number in range(MOST_COLUMNS)) + "\na\n")
    assert refusal(path) == (
        f"{path}: has 16,385 columns, and 16,384 at most are read; leave out those that are neither id, texts nor label"
    )
    path.write_text('"\nid"' + "," * 2_000_000)
    assert "has 2,000,001 columns" in refusal(path)


def test_a_row_of_a_million_fields_is_refused_before_they_are_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,title\n\n" + "a," * 1_000_000)
    assert refusal(path) == f"{path}: its rows have more fields than its header has columns (id, title)"
    path.write_text("id,title\na,b\n" + "a," * 1_000_000)
    assert "not a well-formed CSV: Expected 2 fields in line 3, saw 1000001" in refusal(path)


def test_rows_that_hold_next_to_nothing_of_many_columns_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{number}" for number in range(2000)) + "\n" + "a,b\n" * 20_000)
    assert refusal(path) == (
        f"{path}: has 2,000 columns and 20,001 lines, most of which hold a few fields only; leave out the columns that "
        "are empty"
    )


def test_a_name_without_end_is_cut_in_messages(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x" * 200_000 + ",label\na,b\n")
    assert open_table(path).listed() == f"'{'x' * 79}..., 'label'"
    path.write_text(",".join(f"c{number}" for number in range(50)) + "\n1\n")
    assert open_table(path).listed().endswith(", 'c19' and 30 more")


@pytest.mark.parametrize("header", ["id\0,x,y", '\ufeff\ufeff"id",x,y', '"\nid" ,x,y'])
def test_a_header_with_characters_that_nobody_sees(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\na,b,c\n")
    assert open_table(path).frame.shape == (1, 3)
    path.write_text(header + ",z" * 2_000_000)
    assert "has 2,000,003 columns" in refusal(path)


def test_a_header_of_blank_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",,\na,b,c\n")
    assert refusal(path) == f"{path}: column '' stands twice in the header; rename one of them"


# compressed


def test_a_table_may_be_compressed_in_four_ways(tmp_path):
    plain = "\ufeffid,title\r\na,größe\r\n".encode()
    for suffix, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zip", zipped)):
        path = tmp_path / f"train.csv.{suffix}"
        path.write_bytes(compress(plain))
        assert open_table(path).frame.to_dict("list") == {"id": ["a"], "title": ["größe"]}


def zipped(*contents):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.csv", content)
    return out.getvalue()


def test_an_archive_of_several_files_is_refused(tmp_path):
    path = tmp_path / "train.zip"
    path.write_bytes(zipped("id\na\n", "id\nb\n"))
    assert refusal(path) == f"{path}: holds 2 files; a compressed table is one file alone"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".csv.zst"])
def test_another_compression_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"train{suffix}"
    path.write_bytes(b"id\na\n")
    assert refusal(path) == f"{path}: is compressed as {suffix}; the ways that are read: .gz, .bz2, .xz, .zip"


def test_a_bomb_is_refused_while_it_is_small(tmp_path, monkeypatch):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b"id\n" + b"a\n" * 2**20))
    monkeypatch.setattr(csv_text, "ALWAYS_READ", 2**20)
    assert refusal(path) == f"{path}: decompresses to more than 1,048,576 bytes; is it a table?"
