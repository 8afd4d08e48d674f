"""Whatever stands in a table: it is read, or it is refused in a sentence.

.venv/bin/python -m pytest tests/data/test_table_properties.py
"""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmclf.config import DataConfig
from mmclf.data.catalog import Catalog, join_text, read_catalog
from mmclf.data.table import MISSING, open_table
from mmclf.errors import MmclfError

# what a parser may trip over, in texts that look like tables
PIECES = [
    "id",
    "title",
    "label",
    "a",
    "b",
    "7",
    ",",
    ",",
    ",",
    "\n",
    "\n",
    "\r\n",
    "\r",
    '"',
    '"',
    '""',
    " ",
    ";",
    "\t",
]
PIECES += [" ", ";", "\t", "\0", "\ufeff", "größe", "\u0085", "\u2028", "é", "é", "NaN", "'", "\\", "#", "1e5"]
# of a cell: everything that UTF-8 has, a NUL left out
cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    for name in ("a.jpg", "7_1.png"):
        (folder / name).touch()
    return folder


def read(shop, content, name="train.csv"):
    """What became of such a table, with and without labels: a catalogue or a message."""
    path = shop / name
    path.write_bytes(content)
    return [outcome(path, shop, training) for training in (True, False)]


def outcome(path, shop, training):
    try:
        return read_catalog(path, shop, DataConfig(), training=training)
    except MmclfError as error:
        return str(error)


def check(shop, found):
    if isinstance(found, str):
        assert found.startswith(str(shop))
        return
    catalog, rows = found, found.rows
    assert len(rows.ids) == len(rows.texts) == len(rows.pictures) == len(set(rows.ids))
    assert catalog.labels is None or len(catalog.labels) == len(rows)
    assert all(label.strip() == label != "" for label in catalog.labels or ())
    assert sum(catalog.summary().values()) >= len(rows) > 0
    assert len(catalog.digest()) == 16


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
@example('id,title,label\na,"x,b\n7,y",c\n')
@example('"\nid",label\na,b\n')
@example("id,label\na,x\n\0b,y\n")
def test_any_text_is_read_or_refused(shop, text):
    header = "id,title,label\n"
    for content in (text.encode(), (header + text).encode()):
        for found in read(shop, content):
            check(shop, found)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(shop, content):
    for name in ("train.csv", "train.csv.gz", "train.zip"):
        for found in read(shop, content, name):
            check(shop, found)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
@example([("\r", "\n"), ('"', ' "'), ("\ufeff", "NaN")])
def test_what_a_csv_writer_writes_is_read_back(shop, rows):
    table = [("id", "title", "label"), *((f"r{number}", *row) for number, row in enumerate(rows))]
    written = io.StringIO(newline="")
    csv.writer(written).writerows(table)
    path = shop / "written.csv"
    path.write_bytes(written.getvalue().encode())
    assert open_table(path).frame.to_numpy().tolist() == [list(row) for row in table[1:]]


# texts


fields = st.lists(
    st.one_of(cells, st.sampled_from(sorted(MISSING)), st.sampled_from([" NaN ", "a", " b\t", "red shoe"]))
)


@given(fields)
def test_a_joined_text_holds_the_fields_in_their_order_and_nothing_else(found):
    text = join_text(found)
    kept = [field.strip() for field in found if field.strip() not in MISSING]
    place = 0
    for number, field in enumerate(kept):
        assert text[place : place + len(field)] == field
        place += len(field)
        if number < len(kept) - 1:
            assert text[place] == " "
            place += 1
    assert place == len(text)


@given(fields, st.sampled_from([*sorted(MISSING), None, float("nan"), "  "]), st.integers(0, 5))
def test_a_missing_field_changes_nothing_wherever_it_stands(found, missing, place):
    assert join_text([*found[:place], missing, *found[place:]]) == join_text(found)


@given(fields)
def test_joining_again_changes_nothing(found):
    text = join_text(found)
    assert join_text([text]) == text == text.strip()


@pytest.mark.parametrize("first", ["a,b,7", 'a,"b\nc",7'])
@pytest.mark.parametrize("second", ["7,,a", "b,NaN,a"])
def test_the_pieces_make_tables_that_are_read(shop, first, second):
    """What is said of any text above would mean nothing if all were refused."""
    found = read(shop, f"id,title,label\n{first}\n{second}".encode())
    assert all(isinstance(each, Catalog) for each in found)
