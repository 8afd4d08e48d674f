"""Labels that stand for none, and labels that look like another.

.venv/bin/python -m pytest tests/data/test_labels.py
"""

import unicodedata

import pandas as pd
import pytest

from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.data.labels import NO_LABEL, alike_labels
from mmclf.errors import TableError
from mmclf.evaluation.probabilities import UNASSIGNED
from tests.catalogs import read_text, refusal_of, warnings_of

NFC, NFD = (unicodedata.normalize(form, "Röcke") for form in ("NFC", "NFD"))


def table(*labels):
    return "id,label\n" + "".join(f'a{row},"{label}"\n' for row, label in enumerate(labels))


# no label


@pytest.mark.parametrize(
    "word", ["NaN", "nan", "None", "none", "NULL", "null", "N/A", "n/a", "NA", "<NA>", "#N/A", " NaN ", "unassigned"]
)
def test_a_label_that_stands_for_none_is_refused_with_its_row(tmp_path, word):
    bare = word.strip()
    assert refusal_of(tmp_path, table("x", "y", word), pictures=["a0.jpg"]) == (
        f"row 3: column 'label' holds {bare!r}, which stands for no label; label these rows or leave them out; if "
        f"{bare!r} is a class, give it another name, as '{bare} (class)'"
    )


def test_the_name_that_is_advised_is_taken(tmp_path):
    assert read_text(tmp_path, table("x", "None (class)"), pictures=["a0.jpg"]).classes == ("None (class)", "x")


def test_what_is_written_for_rows_that_are_not_sure_is_no_label():
    assert UNASSIGNED in NO_LABEL


def test_the_first_rows_without_a_label_are_listed(tmp_path):
    message = refusal_of(tmp_path, table("x", *["nan", "", "None", "y"] * 3), pictures=["a0.jpg"])
    assert message.startswith(
        "rows 2, 3, 4, 6, 7 and 4 more: column 'label' holds 'None', 'nan', which stands for no label; label these"
    )


def test_missing_cells_of_a_data_frame_have_no_label(tmp_path):
    (tmp_path / "a.jpg").touch()
    for missing in (None, float("nan"), pd.NA):
        frame = pd.DataFrame({"id": ["a", "b", "c"], "label": ["x", "y", missing]})
        with pytest.raises(TableError, match=r"^data frame: row 3: column 'label' is empty; label"):
            read_catalog(frame, tmp_path, DataConfig(), training=True)


# labels that look alike


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("Shoes", "shoes", "'Shoes' (2 rows) and 'shoes' (1 rows)"),
        ("STRASSE", "straße", "'STRASSE' (2 rows) and 'straße' (1 rows)"),
        ("ice cream", "icecream", "'ice cream' (2 rows) and 'icecream' (1 rows)"),
        ("Men / Tees", "Men /  Tees", "'Men / Tees' (2 rows) and 'Men /  Tees' (1 rows)"),
        ("two words", "two\u00a0words", r"'two words' (2 rows) and 'two\xa0words' (1 rows)"),
        ("hats", "ha\u200bts", r"'hats' (2 rows) and 'ha\u200bts' (1 rows)"),
        ("hats", "\ufeffhats", r"'hats' (2 rows) and '\ufeffhats' (1 rows)"),
        (NFC, NFD, rf"'{NFC}' (2 rows) and {NFD!a} (1 rows)"),
        ("1", "1.0", "'1' (2 rows) and '1.0' (1 rows)"),
        ("1.5", "1.50", "'1.5' (2 rows) and '1.50' (1 rows)"),
    ],
)
def test_labels_that_a_person_takes_for_one_are_warned_of_and_kept(tmp_path, one, other, shown):
    text = table(one, other, "z", one)
    assert warnings_of(tmp_path, text, pictures=["a0.jpg"]) == [
        "column 'label': labels that differ only in case, spaces, invisible characters or the writing of a number are "
        f"classes of their own: {shown}"
    ]
    assert len(read_text(tmp_path, text, pictures=["a0.jpg"]).classes) == 3


@pytest.mark.parametrize(
    "labels",
    [
        ["shoes", "shoe"],
        ["1", "10", "100", "01", "-1"],
        ["1.5", "15"],
        ["C", "C++", "C#"],
        ["a-b", "a b c", "abd"],
        ["Äpfel", "Apfel"],
        ["100.", "1"],
    ],
)
def test_labels_that_differ_are_not_warned_of(tmp_path, labels):
    assert warnings_of(tmp_path, table(*labels), pictures=["a0.jpg"]) == []


def test_only_the_first_few_groups_are_listed_and_the_rest_counted(tmp_path):
    labels = [name for letter in "abcdefg" for name in (letter, letter.upper())]
    (found,) = warnings_of(tmp_path, table(*labels), pictures=["a0.jpg"])
    assert found.endswith("'E' (1 rows) and 'e' (1 rows) and 2 more")


def test_groups_hold_all_that_are_alike_and_begin_with_the_most_frequent():
    assert alike_labels({"x": 1, "a": 2, "A": 9, "a ": 3, "B": 4, "b": 5}) == [["A", "a ", "a"], ["b", "B"]]


def test_a_name_in_the_file_of_classes_is_compared_too(tmp_path):
    classes = tmp_path / "classes.csv"
    classes.write_text("label,name\nHats,a hat\nshoes,a shoe\n")
    (found,) = warnings_of(tmp_path, table("hats", "shoes"), pictures=["a0.jpg"], classes_csv=str(classes))
    assert found.endswith("'hats' (1 rows) and 'Hats' (0 rows)")


def test_a_copy_of_the_label_among_the_texts_is_warned_of(tmp_path):
    text = "id,title,kind,label\na,red, x,x\nb,red,y,y\n"
    assert warnings_of(tmp_path, text, text_cols=["title", "kind"]) == [
        "text column 'kind' is the label in every row: the texts hold the answer"
    ]
    assert warnings_of(tmp_path, text + "c,y,z,y\n", text_cols=["title", "kind"]) == []
