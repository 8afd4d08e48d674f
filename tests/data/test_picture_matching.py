"""Which picture is whose.

.venv/bin/python -m pytest tests/data/test_picture_matching.py
"""

import unicodedata

import pytest

from mmclf.data.catalog import match_pictures
from mmclf.errors import PictureError


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def pictures_of(folder, *ids):
    return dict(zip(ids, match_pictures(folder, list(ids)), strict=True))


def test_the_four_suffixes_come_first_in_the_order_of_the_recipe(tmp_path):
    touch(tmp_path, "7.webp", "7.jpeg", "7.png", "7.jpg", "7_1.bmp", "7_0.webp")
    assert pictures_of(tmp_path, "7")["7"] == ("7.jpg", "7.png", "7.jpeg", "7.webp", "7_0.webp", "7_1.bmp")


def test_further_pictures_may_have_any_image_suffix(tmp_path):
    suffixes = ["jpg", "png", "jpeg", "webp", "bmp", "gif", "tif", "tiff"]
    names = [f"7_{number}.{suffix}" for number, suffix in enumerate(suffixes)]
    touch(tmp_path, *names, "7_8.txt", "7_9.jpg.part", "7_10", "7.txt")
    assert pictures_of(tmp_path, "7")["7"] == tuple(names)


def test_a_bare_id_has_only_the_four_suffixes(tmp_path):
    touch(tmp_path, "7.gif", "7.bmp", "8.jpg")
    assert pictures_of(tmp_path, "7", "8") == {"7": (), "8": ("8.jpg",)}


def test_numbers_count_up(tmp_path):
    touch(tmp_path, "7_10.jpg", "7_2.jpg", "7_1.jpg", "8_v10.jpg", "8_v2.jpg", "8_2.png", "8_2.jpg")
    assert pictures_of(tmp_path, "7", "8") == {
        "7": ("7_1.jpg", "7_2.jpg", "7_10.jpg"),
        "8": ("8_2.jpg", "8_2.png", "8_v2.jpg", "8_v10.jpg"),
    }


def test_suffixes_match_in_either_case_and_names_keep_theirs(tmp_path):
    touch(tmp_path, "7.JPG", "7_1.Png", "A.jpg", "a.jpg")
    assert pictures_of(tmp_path, "7", "a", "A") == {"7": ("7.JPG", "7_1.Png"), "a": ("a.jpg",), "A": ("A.jpg",)}


def test_names_match_in_any_unicode_normal_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for name, wanted in [(composed, decomposed), (decomposed, composed)]:
        folder = tmp_path / wanted
        touch(folder, f"{name}.jpg", f"{name}_1.jpg")
        assert pictures_of(folder, wanted)[wanted] == (f"{name}.jpg", f"{name}_1.jpg")


def test_a_picture_belongs_to_the_longest_id(tmp_path):
    touch(tmp_path, "A.jpg", "A_1.jpg", "A_1_2.jpg", "A_2.jpg", "A_3_.jpg", "AB.jpg", "_A.jpg")
    assert pictures_of(tmp_path, "A", "A_1") == {
        "A": ("A.jpg", "A_2.jpg", "A_3_.jpg"),
        "A_1": ("A_1.jpg", "A_1_2.jpg"),
    }


def test_dots_and_spaces_in_ids(tmp_path):
    touch(tmp_path, "001.024.52.jpg", "001.024.52_1.jpg", "001.024.jpg", "two words.png", ".jpg")
    assert pictures_of(tmp_path, "001.024.52", "two words", "001.024") == {
        "001.024.52": ("001.024.52.jpg", "001.024.52_1.jpg"),
        "two words": ("two words.png",),
        "001.024": ("001.024.jpg",),
    }


def test_an_id_can_not_name_a_file_outside_the_folder(tmp_path):
    inside = tmp_path / "in"
    touch(inside, "a.jpg")
    touch(tmp_path, "x.jpg")
    touch(inside / "sub", "y.jpg")
    (inside / "z.jpg").mkdir()
    hostile = ["../x", "sub/y", str(tmp_path / "x"), "./a", "in/../a", "*", "z", "."]
    assert pictures_of(inside, "a", *hostile) == {"a": ("a.jpg",)} | dict.fromkeys(hostile, ())


def test_patterns_in_ids_are_letters(tmp_path):
    touch(tmp_path, "a[1].jpg", "a1.jpg", "b*.jpg", "bc.jpg", "q?_1.jpg")
    assert pictures_of(tmp_path, "a[1]", "b*", "q?") == {"a[1]": ("a[1].jpg",), "b*": ("b*.jpg",), "q?": ("q?_1.jpg",)}


def test_folders_that_can_not_be_used(tmp_path):
    touch(tmp_path, "file.jpg")
    other, empty = tmp_path / "other", tmp_path / "empty"
    touch(other, "zz.jpg", "yy.png", "aa.txt")
    empty.mkdir()
    touch(empty / "sub", "a.jpg")
    for folder, expected in [
        (tmp_path / "no", "no such folder; give the folder of pictures as --images"),
        (tmp_path / "file.jpg", "is a file, not a folder of pictures"),
        (empty, "holds no picture; the pictures lie in the folder itself"),
        (other, "none of its 2 pictures belongs to a row"),
    ]:
        with pytest.raises(PictureError) as caught:
            match_pictures(folder, ["a", "b"])
        assert str(caught.value).startswith(f"{folder}: {expected}")
    assert "the first id of the table is 'a', the first picture 'yy.png'" in str(caught.value)
