"""python -m pytest tests/reporting/test_gallery.py"""

import base64
import io

import pytest
from PIL import Image

from mmclf.data.rows import Rows
from mmclf.reporting.gallery import SIDE, card, shorten, thumbnail
from tests.reporting.pages import draw_evidence


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.mark.parametrize("size", [(400, 100), (100, 4000), (30, 20)])
def test_a_thumbnail_is_small_and_keeps_its_shape(tmp_path, size):
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "a.png")
    address, note = thumbnail(Rows(["a"], [""], [("a.png",)], tmp_path), 0)
    picture = decoded(address)
    assert note == ""
    assert max(picture.size) == min(SIDE, max(size))
    assert len(address) < 4000
    red, green, blue = picture.getpixel((0, 0))
    assert red > 150 > 80 > max(green, blue)


def test_pictures_in_memory_are_shown_too():
    out = io.BytesIO()
    Image.new("RGB", (50, 50)).save(out, "PNG")
    address, _ = thumbnail(Rows(["a"], [""], [("a.png",)], {"a.png": out.getvalue()}), 0)
    assert decoded(address).size == (50, 50)
    assert thumbnail(Rows(["a"], [""], [("b.png",)], {}), 0) == ("", "the picture can't be read")


def test_a_card_says_what_a_row_is(tmp_path):
    evidence = draw_evidence(folder=tmp_path)
    found = card(evidence, 0)
    assert found.id == "p0"
    assert [name for name, _ in found.lines] == ["given", "taken for"]
    assert found.lines[0][1].startswith(f"{evidence.table.labels[0]} (")
    assert card(evidence, 1).note == "no picture"
    assert card(draw_evidence(), 1).note == card(draw_evidence(), 1).text == ""


def test_long_texts_are_cut_between_words():
    assert shorten("a few words", 100) == "a few words"
    assert shorten("one two three four", 10) == "one two …"
    assert shorten("x" * 50, 10) == f"{'x' * 10} …"
