"""python -m pytest tests/data/test_catalog.py"""

import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmclf.config import DataConfig
from mmclf.data.catalog import Catalog, join_text, read_catalog
from mmclf.errors import TableError

HEADER = ("id", "title", "description", "categories")
ROWS = [("a", "red shoe", "soft", "shoes"), ("b", "blue hat", "", "hats"), ("c", "green hat", "wide", "hats")]


@pytest.fixture
def root(tmp_path):
    """A folder with pictures of a and b; the catalogue looks at names only."""
    folder = tmp_path / "images"
    touch(folder, "a.jpg", "b.jpg")
    return folder


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def write_csv(path, header, rows, encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read(root, header=HEADER, rows=ROWS, *, training=True, encoding="utf-8", **config) -> Catalog:
    path = write_csv(root.parent / "train.csv", header, rows, encoding)
    return read_catalog(path, root, DataConfig(**config), training=training)


def refusal(root, text, name="train.csv", **config):
    """The message for a table with this content, less the path that it must begin with."""
    path = root.parent / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TableError) as caught:
        read_catalog(path, root, DataConfig(**config), training=True)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


# columns


def test_the_usual_columns_are_found(root):
    found = read(root)
    assert len(found) == 3
    assert found.ids == ["a", "b", "c"]
    assert found.rows.texts == ["red shoe soft", "blue hat", "green hat wide"]
    assert found.labels == ["shoes", "hats", "hats"]
    assert found.classes == ("hats", "shoes")
    assert found.targets(found.classes).tolist() == [1, 0, 0]
    assert found.targets(found.classes).dtype == np.int64
    assert found.rows.pictures == [("a.jpg",), ("b.jpg",), ()]
    assert (found.id_col, found.label_col, found.text_cols) == ("id", "categories", ("title", "description"))
    assert found.groups is None
    assert found.given_folds is None


@pytest.mark.parametrize(
    ("header", "label_col", "text_cols"),
    [
        (("id", "label", "categories"), "categories", ()),
        (("id", "label", "text"), "label", ("text",)),
        (("id", "label", "text", "title"), "label", ("title",)),
        (("id", "label", "description", "text"), "label", ("description",)),
        (("id", "label", "description", "title"), "label", ("title", "description")),
    ],
)
def test_columns_are_inferred_in_the_order_of_the_recipe(root, header, label_col, text_cols):
    rows = [[f"{column}{number}" for column in header] for number in range(2)]
    found = read(root, header, [["a", *rows[0][1:]], ["b", *rows[1][1:]]])
    assert (found.label_col, found.text_cols) == (label_col, text_cols)
    assert found.labels == [f"{label_col}0", f"{label_col}1"]
    assert found.rows.texts[0] == " ".join(f"{column}0" for column in text_cols)


def test_each_column_can_be_set(root):
    header = ("sku", "name", "id", "title", "kind", "label", "split")
    rows = [("a", "x", "1", "t", "k1", "l", "0"), ("b", "y", "1", "t", "k2", "l", "1")]
    config = {"id_col": "sku", "label_col": "kind", "text_cols": ["title", "name"], "fold_col": "split"}
    found = read(root, header, rows, **config)
    assert found.ids == ["a", "b"]
    assert found.labels == ["k1", "k2"]
    assert found.rows.texts == ["t x", "t y"]
    assert found.given_folds is not None
    assert found.given_folds.tolist() == [0, 1]


def test_no_text_column_gives_empty_texts(root):
    found = read(root, ("id", "label"), [("a", "x"), ("b", "y")])
    assert found.rows.texts == ["", ""]
    assert found.text_cols == ()
    assert read(root, text_cols=[]).rows.texts == ["", "", ""]


def test_a_table_to_score_needs_no_labels_and_its_labels_are_not_read(root):
    found = read(root, ("id", "title", "fold"), [("a", "x", "?"), ("b", "y", "?")], training=False)
    assert found.labels is None
    assert found.classes == ()
    assert found.label_col is None
    assert found.given_folds is None


def test_labels_are_stripped_and_sorted(root):
    found = read(root, ("id", "label"), [("a", " Äpfel "), ("b", "Na"), ("c", "Zebra"), ("d", "Äpfel")])
    assert found.labels == ["Äpfel", "Na", "Zebra", "Äpfel"]
    assert found.classes == ("Na", "Zebra", "Äpfel")


# texts


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (["  red ", "\tshoe\n"], "red shoe"),
        (["red", "", "shoe"], "red shoe"),
        (["nan", "shoe"], "shoe"),
        (["NaN", "N/A", "NULL", "None", "<NA>", "#N/A", "null", " nan "], ""),
        ([None, float("nan"), "shoe"], "shoe"),
        (["nano", "None of it"], "nano None of it"),
        (["two  inner  spaces"], "two  inner  spaces"),
        ([], ""),
    ],
)
def test_text_fields_are_stripped_and_the_missing_ones_dropped(fields, text):
    assert join_text(fields) == text


def test_text_fields_are_joined_in_the_order_that_was_set(root):
    assert read(root, text_cols=["description", "title"]).rows.texts[0] == "soft red shoe"


def test_the_first_text_field_is_kept_apart_where_there_are_several(root):
    assert read(root).rows.titles == [title.strip() for title in read(root, text_cols=["title"]).rows.texts]
    assert read(root, text_cols=["title"]).rows.titles is None


def test_quoted_commas_and_line_breaks_belong_to_the_text(root):
    found = read(root, ("id", "title", "label"), [("a", "red, wide", "x"), ("b", 'a\n"b"', "y")])
    assert found.rows.texts == ["red, wide", 'a\n"b"']


# ids


def test_ids_stay_strings(root):
    ids = ["001.024.52", "007", "1e5", "NA", "nan", "größe 名前", "two words", "1_000", "True", "-0", "+1", "0x1F"]
    assert read(root, ("id", "label"), [(i, f"l{n % 2}") for n, i in enumerate(["a", *ids])]).ids == ["a", *ids]


def test_byte_order_mark_and_windows_lines_and_compression_are_read(root):
    plain = "id,title,label\r\na,größe,x\r\nb,y,z\r\n".encode()
    for name, content in [
        ("bom.csv", b"\xef\xbb\xbf" + plain),
        ("train.csv.gz", gzip.compress(plain)),
        ("blank.csv", plain.replace(b"\r\n", b"\n\n")),
    ]:
        path = root.parent / name
        path.write_bytes(content)
        found = read_catalog(path, root, DataConfig(), training=True)
        assert (found.ids, found.rows.texts, found.labels) == (["a", "b"], ["größe", "y"], ["x", "z"])


# digest and summary


def test_digest_depends_on_the_rows_and_not_on_their_order(root):
    digest = read(root).digest()
    assert digest == read(root, rows=ROWS[::-1]).digest()
    assert len(digest) == 16
    changed = [
        [("a2", *ROWS[0][1:]), *ROWS[1:]],
        [(*ROWS[0][:2], "hard", ROWS[0][3]), *ROWS[1:]],
        [(*ROWS[0][:3], "boots"), *ROWS[1:]],
        ROWS[:2],
    ]
    digests = {digest, *(read(root, rows=rows).digest() for rows in changed)}
    touch(root, "c.jpg")
    assert len(digests | {read(root).digest()}) == 6


def test_summary_counts_what_a_user_wants_to_see(root):
    touch(root, "a_1.jpg")
    rows = [("a", "", "", "x"), ("b", "t", "", "y"), ("c", "t", "", "y")]
    assert read(root, rows=rows, group_col="title").summary() == {
        "rows": 3,
        "pictures": 3,
        "rows_without_picture": 1,
        "rows_with_several_pictures": 1,
        "rows_without_text": 1,
        "classes": 2,
        "groups": 2,
    }


# folds and groups of the table


@pytest.mark.parametrize("values", [("0", "1", "2"), ("0.0", "1.0", "2.00"), (" 0", "1 ", "2")])
def test_fold_column_is_read_as_numbers(root, values):
    found = read(root, (*HEADER, "fold"), [(*row, value) for row, value in zip(ROWS, values, strict=True)])
    assert found.given_folds is not None
    assert found.given_folds.dtype == np.int64
    assert found.given_folds.tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "nan", "1e3", "9" * 25])
def test_fold_that_is_no_number_names_its_row(root, value):
    message = refusal(root, f"id,label,fold\na,x,0\nb,y,{value}\n")
    assert message == f"row 2: column 'fold': {value!r} is not a fold number (0, 1, 2, ...)"


def test_groups_come_from_a_column_and_a_row_without_one_stands_alone(root):
    rows = [("a", "x", "g"), ("b", "y", " g "), ("c", "y", ""), ("g", "x", " ")]
    groups = read(root, ("id", "label", "model"), rows, group_col="model").groups
    assert groups is not None
    assert groups[:2] == ["g", "g"]
    assert len(set(groups)) == 3


def test_groups_come_from_a_second_table(root):
    other = write_csv(root.parent / "groups.csv", ("group", "id"), [("g", "c"), ("g", "a"), ("h", "zzz")])
    groups = read(root, groups_csv=str(other)).groups
    assert groups is not None
    assert groups[0] == groups[2] == "g"
    assert groups[1] not in ("g", "h", "")


def test_tables_of_groups_that_can_not_be_used(root):
    other = root.parent / "groups.csv"
    for text, expected in [
        ("id,group\nq,g\nr,g\n", f"{other}: holds no id of {root.parent / 'train.csv'} (its first is 'q', the table's"),
        ("id,grp\na,g\n", f"{other}: no column 'group' (data.groups_csv); it has 'id', 'grp'"),
        ("id,group\na,g\na,h\n", f"{other}: rows 1 and 2 have the same id 'a'"),
        (None, f"{other}: no such file; give the table as data.groups_csv"),
    ]:
        if text is None:
            other.unlink()
        else:
            other.write_text(text)
        with pytest.raises(TableError) as caught:
            read(root, groups_csv=str(other))
        assert str(caught.value).startswith(expected)


def test_two_sources_of_groups_are_refused(root):
    with pytest.raises(TableError, match=r"data\.group_col and data\.groups_csv are both set; set one of them"):
        read(root, group_col="title", groups_csv="groups.csv")


# tables that can't be used


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty; the first line names the columns"),
        ("\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        ("id,title,label\n", "has a header but no rows"),
        ("id;title;label\na;x;l\n", "its columns are not separated by commas: the header is 'id;title;label'"),
        ("id;title;label\na;x, y;l\nb;x, y;m\n", "its columns are not separated by commas"),
        ("id;title;label\na;x;l\nb;x, y;m\n", "its columns are not separated by commas"),
        (
            "id\ttitle\tlabel\na\tx, y\tl\n",
            r"its columns are not separated by commas: the header is 'id\ttitle\tlabel'",
        ),
        (
            "id,label\na,x\nb,y,z\n",
            "not a well-formed CSV: Expected 2 fields in line 3, saw 3; is a field with a comma",
        ),
        ("id,label\na,x,q\nb,y\n", "its rows have more fields than its header has columns (id, label)"),
        ("id,label\na,x,q\nb,y,q\n", "its rows have more fields than its header has columns (id, label)"),
        ('id,label\na,"x\nb,y\n', "not a well-formed CSV: EOF inside string starting at row 1"),
        ("id,title,label\na,t,x\nb,y\n", "row 2: column 'label' is empty; label these rows or leave them out"),
        ("id,title,title,label\na,b,c,x\n", "column 'title' stands twice in the header; rename one of them"),
        ("sku,label\na,x\n", "no id column 'id'; name it by data.id_col (columns: 'sku', 'label')"),
        ("id,label\na,x\n ,y\n", "row 2: column 'id' is empty; every row needs an id"),
        ("id,label\na,x\nb,y\na,y\n", "rows 1 and 3 have the same id 'a' (1 rows repeat an id); ids must be unique"),
        ("id,title\na,x\n", "no label column 'categories' or 'label' to train on; name it by data.label_col (columns:"),
        ("id,label\na,\nb,y\nc, \n", "rows 1 and 3: column 'label' is empty; label these rows"),
        ("id,label\na,x\nb,x\n", "column 'label' holds only 'x'; a classifier needs two classes or more"),
    ],
)
def test_unusable_table_says_where_and_what(root, text, expected):
    assert refusal(root, text).startswith(expected)


@pytest.mark.parametrize("rows", [1, 20_000])  # pandas reports positions within a chunk
def test_text_that_is_not_utf8_names_its_line(root, rows):
    text = "id,label\n" + "".join(f"r{number},xxxxxxxxxxxxxxxx\n" for number in range(rows)) + "z,größe\n"
    assert refusal(root, text.encode("latin-1")) == (
        f"line {rows + 2:,}: byte 0xf6 is not UTF-8; save the table as UTF-8"
    )


def test_utf16_is_not_utf8(root):
    assert refusal(root, "id,label\na,x\n".encode("utf-16")).startswith("line 1: byte 0xff is not UTF-8")


@pytest.mark.parametrize("config", [{"label_col": "kind"}, {"text_cols": ["title", "kind"]}, {"group_col": "kind"}])
def test_a_column_that_was_set_and_is_not_there(root, config):
    message = refusal(root, "id,title,label\na,t,x\nb,t,y\n", **config)
    assert message == f"no column 'kind' (data.{next(iter(config))}); it has 'id', 'title', 'label'"


def test_missing_table_and_folder_instead_of_a_table(root):
    for path, expected in [
        (root / "no.csv", "no such file; give the table as --csv"),
        (root, "is a folder; give a CSV as --csv"),
    ]:
        with pytest.raises(TableError) as caught:
            read_catalog(path, root, DataConfig(), training=True)
        assert str(caught.value).startswith(f"{path}: {expected}")


@pytest.mark.parametrize("suffix", ["gz", "zip", "bz2", "xz"])
def test_damaged_archive_is_an_error_of_the_table(root, suffix):
    assert refusal(root, b"not an archive at all", f"train.csv.{suffix}").startswith("can't be read: ")


def test_cut_and_corrupt_archives_are_errors_of_the_table(root):
    whole = gzip.compress(b"id,label\n" + b"".join(b"%d,x%d\n" % (n, n * n) for n in range(500)))
    for content in (whole[:-20], whole[:30] + b"x" * 40):
        assert refusal(root, content, "train.csv.gz").startswith("can't be read: ")


def test_paths_may_be_strings(root):
    path = write_csv(root.parent / "train.csv", HEADER, ROWS)
    found = read_catalog(str(path), str(root), DataConfig(), training=True)
    assert (found.table_path, found.image_root) == (path, Path(root))


def test_spaces_around_a_column_name_do_not_hide_the_column(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").touch()
    (tmp_path / "t.csv").write_text("id, title ,categories\n1,Red shirt,A\n2,Oak table,B\n")
    found = read_catalog(tmp_path / "t.csv", tmp_path / "images", DataConfig(), training=True)
    assert found.rows.texts == ["Red shirt", "Oak table"]


# data frames


def test_a_data_frame_is_read_as_the_csv_it_came_from(root):
    expected = read(root)
    path = root.parent / "train.csv"
    for frame in (pd.read_csv(path), pd.read_csv(path, dtype=str, keep_default_na=False)):
        found = read_catalog(frame, root, DataConfig(), training=True)
        assert found.rows == expected.rows
        assert found.labels == expected.labels
        assert found.digest() == expected.digest()
        assert (found.name, found.table_path) == ("data frame", None)
        assert (expected.name, expected.table_path) == (str(path), path)


def test_numbers_and_missing_cells_of_a_data_frame_become_texts(root):
    frame = pd.DataFrame({"id": ["a", "b"], "title": [7, None], "categories": ["x", "y"], "fold": [0, 1]})
    found = read_catalog(frame, root, DataConfig(), training=True)
    assert found.rows.texts == ["7.0", ""]
    assert found.given_folds.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"id": []}), "data frame: has no rows"),
        (pd.DataFrame({"id": ["a", "a"], "label": ["x", "y"]}), "data frame: rows 1 and 2 have the same id 'a'"),
        (pd.DataFrame({"sku": ["a"]}), "data frame: no id column 'id'"),
        (pd.DataFrame([["a", "b"]], columns=["id", "id"]), "data frame: column 'id' stands twice"),
    ],
)
def test_a_data_frame_that_can_not_be_used_says_why(root, frame, said):
    with pytest.raises(TableError, match=said):
        read_catalog(frame, root, DataConfig(), training=True)


@pytest.mark.parametrize("address", ["s3://shop/train.csv", "gs://shop/train.csv", "https://shop.example/train.csv"])
def test_an_address_elsewhere_is_said_to_be_for_batch(root, address):
    with pytest.raises(TableError, match=f"^--csv: {address}: .*only `batch` reads such addresses"):
        read_catalog(address, root, DataConfig(), training=True)
    with pytest.raises(TableError, match=f"^--images: {address}: "):
        read_catalog(write_csv(root.parent / "train.csv", HEADER, ROWS), address, DataConfig(), training=True)
