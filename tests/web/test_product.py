"""What a browser sends of one product: read, or refused in a sentence.

.venv/bin/python -m pytest tests/web/test_product.py
"""

import base64

import pytest

from mmclf.errors import RowError, TooLargeError
from mmclf.scoring.limits import Limits
from mmclf.web.product import read_product

COLUMNS = ("title", "description")


def picture(name="a.png", content=b"12345"):
    return {"name": name, "content": base64.b64encode(content).decode()}


def test_texts_are_joined_as_in_a_table():
    found = read_product({"texts": {"description": " soft ", "title": "red shoe"}}, COLUMNS, Limits())
    assert (found.text, found.title) == ("red shoe soft", "red shoe")
    rows = found.rows([(True, True), (True, False)], has_titles=True)
    assert (rows.texts, rows.titles, rows.pictures) == (["red shoe soft", ""], ["red shoe", ""], [(), ()])
    assert found.rows([(True, True)], has_titles=False).titles is None


def test_half_a_surrogate_pair_is_no_text():
    assert read_product({"texts": {"title": "a\ud800b"}}, COLUMNS, Limits()).text == "a?b"


def test_pictures_of_one_name_stay_apart():
    found = read_product({"pictures": [picture(), picture(content=b"678"), picture(name="")]}, COLUMNS, Limits())
    assert found.pictures == {"a.png": b"12345", "a.png (2)": b"678", "picture 3": b"12345"}
    assert found.rows([(True, True), (False, True)], has_titles=False).pictures == [tuple(found.pictures), ()]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], r"^texts: should be a JSON object in an object$"),
        ({"texts": "red"}, r"^texts: should be a JSON object"),
        ({"pictures": {}}, r"^pictures: should be a JSON list"),
        ({"texts": {"colour": "red"}}, r"^texts: colour: no such text; the model reads title, description$"),
        ({"texts": {"title": 3}}, r"^texts: title: found int, but it should be a text$"),
        ({"pictures": ["a.png"]}, r"^pictures: number 1 should be"),
        ({"pictures": [{"name": "a.png", "content": "/etc/passwd!"}]}, r"^a\.png: is not base64; .*not opened"),
        ({"pictures": [{"name": "a.png"}]}, r"^a\.png: found NoneType"),
        ({"texts": {"title": " "}}, r"^there is nothing to go by; drop a picture or write a text$"),
    ],
)
def test_what_it_is_not(content, said):
    with pytest.raises(RowError, match=said):
        read_product(content, COLUMNS, Limits())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"texts": {"title": "x" * 11}}, r"^title: 11 characters are too many \(at most 10\)$"),
        ({"pictures": [picture(), picture(), picture()]}, r"^3 pictures are too many for a product \(at most 2\)$"),
    ],
)
def test_what_is_too_large(content, said):
    with pytest.raises(TooLargeError, match=said):
        read_product(content, COLUMNS, Limits(characters=10, pictures=2))
    with pytest.raises(RowError, match=r"^a\.png: .* MiB are too many for a picture"):
        read_product({"pictures": [picture()]}, COLUMNS, Limits(picture_bytes=4))
