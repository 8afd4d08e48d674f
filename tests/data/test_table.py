"""What is no table, and headers that are none.

.venv/bin/python -m pytest tests/data/test_table.py
"""

import os

import pytest

from mmclf.data.table import MOST_COLUMNS, open_table, physical_lines
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


def test_a_header_of_a_name_without_end(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x" * 200_000 + ",label\na,b\n")
    assert refusal(path).startswith(f"{path}: its header can't be read: field larger than field limit (131072)")


@pytest.mark.parametrize("header", ["id,la\0bel,x", "id\0,x,y"])
def test_a_header_with_a_control_character_that_ends_it(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\na,b,c\n")
    assert refusal(path) == f"{path}: its header can't be read: is it one line of names, without control characters?"


def test_a_header_of_blank_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",,\na,b,c\n")
    assert refusal(path) == f"{path}: column '' stands twice in the header; rename one of them"


# lines


def test_physical_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffid,"a\nb"\r\n\r\n1,"x\r2,größe"\n\nNA,\0,y\nlast'.encode())
    assert list(physical_lines(path)) == ['id,"a', 'b"', "", '1,"x', '2,größe"', "", "NA,", "last"]
