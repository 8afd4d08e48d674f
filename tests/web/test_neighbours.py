"""The training products that are most like one.

.venv/bin/python -m pytest tests/web/test_neighbours.py
"""

import numpy as np
import pytest
from PIL import Image

from mmclf.data.rows import Rows
from mmclf.model.head_inputs import HeadInputs
from mmclf.web.neighbours import COUNT, Neighbours


def inputs(images, texts, strings, has_picture):
    return HeadInputs.of(
        strings, np.array(images, dtype=np.float32), np.array(has_picture), np.array(texts, dtype=np.float32)
    )


@pytest.fixture
def three(tmp_path) -> Neighbours:
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    rows = Rows(["a", "b", "c"], ["red shoe", "", "blue"], [("a.png",), ("gone.png",), ()], tmp_path, ["red", "", ""])
    found = inputs([[9, 0], [0, 1], [5, 5]], [[0, 3], [7, 7], [1, 0]], rows.texts, [True, True, False])
    return Neighbours(rows, ["shoe", "hat", "sock"], found)


def test_cosine_of_pictures_and_texts_side_by_side(three):
    found = three.nearest(inputs([[1, 0]], [[0, 1]], ["x"], [True]))
    # b has no text and c no picture: what is read of those counts for nothing
    assert [(near.id, near.label) for near in found] == [("a", "shoe"), ("b", "hat"), ("c", "sock")]
    assert [near.similarity for near in found] == pytest.approx([1, 0, 0], abs=1e-6)
    found = three.nearest(inputs([[1, 1]], [[1, 0]], ["x"], [True]))
    assert [near.id for near in found] == ["c", "b", "a"]
    assert [near.similarity for near in found] == pytest.approx([0.5**0.5, 0.5, 0.5**0.5 / 2], abs=1e-6)


def test_a_part_that_the_product_lacks_counts_for_nothing(three):
    by_text = three.nearest(inputs([[1, 0]], [[1, 0]], ["x"], [False]))
    assert by_text[0].id == "c"
    assert by_text[0].similarity == pytest.approx(1)
    nothing = three.nearest(inputs([[1, 0]], [[1, 0]], [""], [False]))
    assert [near.similarity for near in nothing] == [0, 0, 0]


def test_they_are_shown_with_picture_and_title(three):
    a, b, c = three.nearest(inputs([[1, 0]], [[0, 1]], ["x"], [True]))
    assert a.picture.startswith("data:image/jpeg;base64,")
    assert (a.text, a.note) == ("red", "")
    assert (b.picture, b.note) == ("", "the picture can't be read")
    assert (c.picture, c.note, c.text) == ("", "no picture", "blue")


def test_a_training_product_is_most_like_itself(catalog, both, scorer):
    known = Neighbours(catalog.rows, catalog.labels, scorer.features(catalog.rows, batch_size=8))
    asked = scorer.features(catalog.rows.slice(both, both + 1), batch_size=2)
    found = known.nearest(asked)
    assert len(found) == COUNT
    assert found[0].id == catalog.ids[both]
    assert found[0].label == catalog.labels[both]
    assert found[0].similarity == pytest.approx(1, abs=1e-3)
    assert [near.similarity for near in found] == sorted((near.similarity for near in found), reverse=True)
