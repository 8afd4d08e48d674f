"""Views that show the same are found to be one.

.venv/bin/python -m pytest tests/data/test_distinct_views.py
"""

import pytest

from mmclf.data.distinct_views import DistinctViews
from mmclf.data.images import Transform
from mmclf.data.pictures import Pictures
from mmclf.data.views import View

# two files of one content, one of another, and one that isn't there
CONTENTS = {"a.png": b"one", "copy.png": b"one", "b.png": b"two"}
A, COPY, B, GONE = (View(name, None) for name in ("a.png", "copy.png", "b.png", "gone.png"))
CROP, OTHER_CROP = View("a.png", 7), View("a.png", 8)


@pytest.fixture
def pictures(tmp_path):
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    return Pictures(tmp_path, Transform(32, (0.5,) * 3, (0.5,) * 3))


def refuse(name, sentence):
    raise AssertionError(sentence)


def test_files_of_one_content_show_the_same(pictures):
    found = DistinctViews.of([[A, B], [], [COPY], [B, B]], pictures, by_content=True, complain=refuse)
    assert found.views == [None, A, B]
    assert found.of_rows == [[1, 2], [], [1], [2, 2]]
    assert found.contents == ["placeholder", *(f"{pictures.digest(view.name)}\x1fNone" for view in (A, B))]


def test_crops_of_one_picture_differ(pictures):
    found = DistinctViews.of([[A], [CROP], [OTHER_CROP], [CROP]], pictures, by_content=True, complain=refuse)
    assert found.views == [None, A, CROP, OTHER_CROP]
    assert found.of_rows == [[1], [2], [3], [2]]
    assert len(set(found.contents)) == 4


def test_by_their_names_no_file_is_read(pictures):
    found = DistinctViews.of([[A, GONE], [COPY], [A]], pictures, by_content=False, complain=refuse)
    assert found.views == [None, A, GONE, COPY]
    assert found.of_rows == [[1, 2], [3], [1]]


def test_files_that_cannot_be_read_are_left_out_and_told_once(pictures):
    told = []
    found = DistinctViews.of(
        [[GONE, A], [GONE]], pictures, by_content=True, complain=lambda *complaint: told.append(complaint)
    )
    assert found.views == [None, A]
    assert found.of_rows == [[1], []]
    [(name, sentence)] = told
    assert name == "gone.png"
    assert "gone.png" in sentence


def test_a_complaint_may_end_the_work(pictures):
    with pytest.raises(AssertionError, match=r"gone\.png"):
        DistinctViews.of([[A], [GONE]], pictures, by_content=True, complain=refuse)
