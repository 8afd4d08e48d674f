"""What the jobs say of a table: warnings once, on stderr, where it is read.

.venv/bin/python -m pytest tests/workflows/test_tables.py
"""

import pytest

from mmclf.config import build_config
from mmclf.workflows.tables import read_rows, read_split
from tests.trees import small_tree

ROWS = [
    "id,title,description,label",
    *(f"p{number},red shoe,soft,{'shoes' if number % 2 else 'hats'}" for number in range(20)),
    'q1,"blue hat,wide,hats',
    'q2,green hat",round,hats',
    " q3,x,y,Hats",
    "q4,x,y,Hats",
    "",
]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "p0.jpg").touch()
    path = tmp_path / "train.csv"
    path.write_text("\n".join(ROWS))
    return path


def said(capsys):
    shown = capsys.readouterr()
    assert shown.out == ""
    return [line for line in shown.err.splitlines() if line.startswith("warning: ")]


def test_a_table_to_train_on_is_warned_of_once(table, capsys):
    config = build_config(small_tree(), "train.folds=2")
    split = read_split(table, table.parent, config)
    labels, ids, quotes = said(capsys)
    assert labels == (
        f"warning: {table}: column 'label': labels that differ only in case, spaces, invisible characters or the "
        "writing of a number are classes of their own: 'hats' (11 rows) and 'Hats' (2 rows)"
    )
    assert ids.startswith(f"warning: {table}: 1 ids begin or end with a space and have no picture: ' q3'; ")
    assert quotes.startswith(f"warning: {table}: line 22: a quoted field goes on over 2 lines that look like rows")
    assert len(split.catalog) == 23
    read_split(table, table.parent, config, quiet=True)
    assert said(capsys) == []


def test_a_table_to_score_is_warned_of_once(table, capsys):
    read_rows(table, table.parent, build_config(small_tree()).data, ["title"])
    assert [line.split(": ")[2] for line in said(capsys)] == [
        "1 ids begin or end with a space and have no picture",
        "line 22",
    ]


def test_the_shop_of_the_demo_gives_no_cause(shop, capsys):
    read_split(shop.train_csv, shop.images, build_config(small_tree(), "train.folds=2"))
    read_rows(shop.test_csv, shop.images, build_config(small_tree()).data, ["title", "description"])
    assert said(capsys) == []
