"""Ids, text columns and groups that look right and aren't.

.venv/bin/python -m pytest tests/data/test_columns.py
"""

import unicodedata

import pytest

from mmclf.config import DataConfig
from tests.catalogs import read_text, refusal_of, warnings_of

TABLE = "id,title,description,label\na,red shoe,soft,shoes\nb,blue hat,wide,hats\n"
NFC, NFD = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))


# the label among the texts


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({"text_cols": ["title", "label"]}, "set data.text_cols=[title], or another data.label_col"),
        ({"text_cols": ["label"]}, "set data.text_cols=[], or another data.label_col"),
        ({"label_col": "title"}, "set data.text_cols=[description], or another data.label_col"),
        ({"label_col": "description"}, "set data.text_cols=[title], or another data.label_col"),
    ],
)
def test_the_label_column_is_no_text_column(tmp_path, config, advice):
    name = config.get("label_col", "label")
    assert refusal_of(tmp_path, TABLE, **config) == (
        f"column '{name}' is both the label and a text column, so the texts would hold the answer; {advice}"
    )


def test_the_advice_is_one_that_works(tmp_path):
    found = read_text(tmp_path, TABLE, label_col="title", text_cols=["description"])
    assert (found.labels, found.rows.texts, found.warnings) == (["red shoe", "blue hat"], ["soft", "wide"], ())


def test_a_label_that_is_text_by_default_is_found_too(tmp_path):
    message = refusal_of(tmp_path, "id,text\na,x\nb,y\n", label_col="text")
    assert message.startswith("column 'text' is both the label and a text column")


def test_a_table_to_score_may_be_read_by_any_text_columns(tmp_path):
    found = read_text(tmp_path, TABLE, training=False, text_cols=["title", "label"])
    assert found.rows.texts[0] == "red shoe shoes"


def test_a_text_column_is_named_once(tmp_path):
    message = refusal_of(tmp_path, TABLE, text_cols=["title", "title"])
    assert message == "data.text_cols: found ['title', 'title']; name each column once"


# ids


@pytest.mark.parametrize("training", [True, False])
def test_ids_that_are_one_in_another_unicode_form_are_refused(tmp_path, training):
    message = refusal_of(tmp_path, f"id,label\na,x\n{NFC},y\n{NFD},y\n", training=training)
    assert message == (
        f"rows 2 and 3 have ids that look the same, {NFC!a} and {NFD!a} (two Unicode forms), and would share their "
        "pictures; rename one of them"
    )


def test_ids_with_outer_spaces_are_warned_of_where_they_have_no_picture(tmp_path):
    text = "id,label\na,x\n b,y\nc ,y\n\td,x\ne ,x\n f,y\n"
    for training in (True, False):
        assert warnings_of(tmp_path, text, training=training, pictures=("a.jpg", "c.jpg", "f.jpg")) == [
            "5 ids begin or end with a space and have no picture: ' b', 'c ', '\\td', ...; a picture is named by the "
            "whole id, so take the spaces out of the table"
        ]


def test_an_id_with_a_space_that_has_its_picture_is_no_concern(tmp_path):
    assert warnings_of(tmp_path, "id,label\na,x\n b,y\n", pictures=("a.jpg", " b.jpg")) == []


# groups


def test_groups_are_found_in_either_unicode_form(tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text(f"id,group\na,g\n{NFD},g\n")
    found = read_text(tmp_path, f"id,label\na,x\n{NFC},y\n", groups_csv=str(groups))
    assert (found.groups, found.warnings) == (["g", "g"], ())


def test_ids_that_the_groups_lack_are_warned_of(tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("id,group\na,g\nB,g\nc,\n")
    found = read_text(tmp_path, "id,label\na,x\nb,y\nc,y\n", groups_csv=str(groups))
    assert found.warnings == (f"{groups}: lacks 1 of the 3 ids: 'b'; each of them is a group of its own",)


def test_the_defaults_are_those_of_the_documentation():
    assert DataConfig().text_cols is DataConfig().label_col is None
