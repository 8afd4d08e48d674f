"""Rows that quotes swallowed, and descriptions of several lines that are what they seem.

.venv/bin/python -m pytest tests/data/test_csv_records.py
"""

import csv
import gzip
import io

import pytest

from mmclf.data.csv_records import RowKind, read_records
from tests.catalogs import read_text, refusal_of, warnings_of

HEADER = "id,title,description,label"
COLUMNS = HEADER.split(",")
PLAIN = [
    "p1,red shoe,soft,shoes",
    "p2,blue hat,wide,hats",
    "p3,green hat,round,hats",
    "p4,brown shoe,flat,shoes",
    "p5,grey hat,tall,hats",
]


def found_in(*rows, training=True, columns=COLUMNS):
    """First line and number of lines, the blank ones left out, of each record whose lines look like rows."""
    labels = (columns.index("label"), ["shoes", "hats"]) if training else (None, ())
    kind = RowKind(0, ["p1", "p2", "p77"], *labels)
    records = read_records("\n".join([",".join(columns), *rows, ""]).splitlines(keepends=True))
    return [
        (record.line, sum(line.strip() != "" for line in record.lines))
        for record in records
        if len(record.lines) > 1 and kind.fill(record.lines, len(columns))
    ]


# swallowed rows


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # a quote at the beginning of a title, the next one in a later row
        ([PLAIN[0], 'p2,"blue hat,wide,hats', PLAIN[2], 'p4,brown shoe",flat,shoes'], (3, 3)),
        # two rows only
        ([PLAIN[0], 'p2,"blue hat,wide,hats', 'p4,brown shoe",flat,shoes'], (3, 2)),
        # the pair begins in the description and ends in it
        ([PLAIN[0], 'p2,blue hat,"wide,hats', *PLAIN[2:4], 'p5,grey hat,tall",hats'], (3, 4)),
        # it is closed by the quote that opens a field with a comma
        ([PLAIN[0], 'p2,"blue hat,wide,hats', 'p3,green hat,"round, low",hats'], (3, 2)),
        # before it stands a field that is quoted as it should
        ([PLAIN[0], '"p2","blue hat,wide,hats', 'p4,brown shoe",flat,shoes'], (3, 2)),
        # empty fields are written as quotes
        ([PLAIN[0], 'p2,"blue hat,wide,hats', 'p3,green hat,"",hats', 'p4,brown shoe",flat,shoes'], (3, 3)),
        # blank lines between
        ([PLAIN[0], "", 'p2,"blue hat,wide,hats', "", 'p4,brown shoe",flat,shoes'], (4, 2)),
        # a class that nothing is left of
        ([PLAIN[0], 'p2,"bowl,wide,cups', "p3,cup,low,cups", 'p4,brown shoe",flat,shoes'], (3, 3)),
        # after a description of several lines the lines still count
        (['p1,red shoe,"soft\nwarm\ndry",shoes', 'p2,"blue hat,wide,hats', 'p4,x",flat,shoes'], (5, 2)),
    ],
)
def test_swallowed_rows_are_found_with_their_line(rows, expected, training):
    assert found_in(*rows, training=training) == [expected]


def test_they_are_said_with_the_line_and_what_to_look_for(tmp_path):
    rows = [PLAIN[0], 'p2,"blue hat,wide,hats', *PLAIN[2:4], 'p5,grey hat",tall,hats']
    text = "\n".join([HEADER, *rows, ""])
    for training in (True, False):
        catalog = read_text(tmp_path, text, training=training, pictures=["p1.jpg"])
        assert catalog.ids == ["p1", "p2"]
        assert catalog.warnings == (
            f"{tmp_path / 'train.csv'}: line 3: a quoted field goes on over 4 lines that look like rows of their own "
            "(3 rows of the whole table); is a quote missing there, or one too many?",
        )


def test_each_pair_counts_and_the_first_is_named(tmp_path):
    rows = []
    for number in range(0, 40, 4):
        rows += [
            f"q{number},a,b,hats",
            f'q{number + 1},"a,b,shoes',
            f"q{number + 2},a,b,hats",
            f'q{number + 3},a",b,shoes',
        ]
    (found,) = warnings_of(tmp_path, "\n".join([HEADER, *rows, ""]), pictures=["q0.jpg"])
    assert found.startswith("line 3: a quoted field goes on over 3 lines that look like rows of their own (20 rows of")


def test_compressed_tables_and_windows_lines_are_looked_at_too(tmp_path):
    rows = [PLAIN[0], 'p2,"blue hat,wide,hats', PLAIN[2], 'p4,brown shoe",flat,hats', ""]
    content = gzip.compress("\r\n".join([HEADER, *rows]).encode())
    (found,) = read_text(tmp_path, content, name="train.csv.gz", pictures=["p1.jpg"]).warnings
    assert "line 3: a quoted field goes on over 3 lines" in found


def test_rows_may_be_longer_than_the_csv_module_allows(tmp_path):
    limit = csv.field_size_limit()
    rows = [f'p1,"red,{"x" * 2 * limit},shoes', 'p2,blue",wide,hats', "p3,red,soft,shoes"]
    (found,) = warnings_of(tmp_path, "\n".join([HEADER, *rows, ""]), pictures=["p1.jpg"])
    assert found.startswith("line 2: ")
    assert csv.field_size_limit() == limit


# descriptions of several lines


def as_csv(*rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([COLUMNS, *rows])
    return out.getvalue()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "description",
    [
        "soft\nwarm",
        "soft\n\nwarm\n",
        "soft, warm\nred, blue, green, white",
        "soft\nred, blue, green, white\nround",
        "sizes, S\nS, M, L, XL\nred, blue, green",
        "a,b\nS,M,L,XL\nx,y,z",
        'a 5" screen, new\np, q, r, s\nx, y, z',
        "line\n" * 200,
        ",,,\n,,,\n,,",
    ],
)
def test_a_description_of_several_lines_is_not_warned_of(tmp_path, description, training):
    text = as_csv(["p1", "red shoe", "soft", "shoes"], ["p2", "hat", description, "hats"], ["p3", "x", "y", "hats"])
    catalog = read_text(tmp_path, text, training=training, pictures=["p1.jpg"])
    assert (len(catalog), catalog.warnings) == (3, ())


def test_lines_with_as_many_commas_as_columns_need_an_id_and_a_label_to_be_rows():
    # the lines of this record have four fields each
    lines = ["p2,hat,{},hats", "{},M,L,hats", "{},y,hats"]
    for ids, label, expected in [
        (("p8", "p9"), "hats", 1),
        (("S", "p9"), "hats", 0),  # no id of this table
        (("p8", "p9"), "XL", 0),  # no label
    ]:
        record = f'p2,hat,"wide,{label}\n{ids[0]},M,L,hats\n{ids[1]},x,y",hats'
        assert len(found_in(PLAIN[0], record)) == expected, lines


def test_spaces_after_commas_are_those_of_a_sentence():
    record = 'p2,"soft,warm,dry\np1, p2, p3, p4\np5,x",flat,hats'
    assert found_in(PLAIN[0], record, training=False) == []
    assert len(found_in(PLAIN[0], record.replace(", ", ","), training=False)) == 1


# rows that lack fields


def test_rows_that_lack_fields_are_warned_of(tmp_path):
    text = 'id,label,title\n\na,x,t\nb,y\nc,x,""\nd,y,\n \n,e,x\n'.replace(",e,x", "e,x")
    assert warnings_of(tmp_path, text) == [
        "2 rows have fewer fields than the header has columns, the first is row 2; what they lack counts as empty"
    ]


def test_a_row_is_not_short_for_its_empty_cells_or_line_breaks(tmp_path):
    assert warnings_of(tmp_path, 'id,label,title\na,x,\nb,y,""\nc,"x\nz",\n"d",y,"a\n"\n') == []


def test_rows_that_lack_their_label_are_refused_for_it(tmp_path):
    assert refusal_of(tmp_path, "id,title,label\na,t,x\nb,t\nc,t,y\n").startswith("row 2: column 'label' is empty")


def test_a_table_of_one_column_has_no_short_rows(tmp_path):
    assert warnings_of(tmp_path, 'id\na\n"b\nc"\n', training=False) == []
