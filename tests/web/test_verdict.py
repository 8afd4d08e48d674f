"""What a model says about a product, whole and by its parts.

.venv/bin/python -m pytest tests/web/test_verdict.py
"""

import pandas as pd
import pytest

from mmclf.errors import RowError
from mmclf.scoring.limits import Allowance
from mmclf.scoring.requests import as_frame
from mmclf.web.product import Product
from mmclf.web.verdict import TOP, judge


@pytest.fixture(scope="session")
def product(catalog, both) -> Product:
    name = catalog.rows.pictures[both][0]
    content = (catalog.image_root / name).read_bytes()
    return Product(catalog.rows.texts[both], catalog.rows.titles[both], {name: content})


def served(scorer, product, *, text=True, picture=True) -> list[tuple[str, float]]:
    """The same from the model as it is served."""
    description = product.text.removeprefix(product.title)
    row = {"title": product.title, "description": description} if text else {"title": None}
    row["image"] = list(product.pictures.values()) if picture else None
    infer = scorer.config.infer
    found = scorer.score(pd.DataFrame([row]), tta=infer.tta, batch_size=infer.batch_size)
    answer = as_frame(found.probabilities, scorer.classes, TOP).iloc[0]
    return list(zip(answer["top_labels"], answer["top_confidences"], strict=True))


def shares(top) -> list[tuple[str, float]]:
    return [(share.label, pytest.approx(share.probability, abs=1e-5)) for share in top]


def test_whole_and_alone_are_what_the_served_model_says(scorer, product):
    found = judge(scorer, product, 0, Allowance())
    assert served(scorer, product) == shares(found.top)
    assert (found.label, found.is_assigned, found.least) == (found.top[0].label, True, 0)
    pictures, texts = found.alone
    assert (pictures.part, texts.part, pictures.note, texts.note) == ("pictures", "texts", "", "")
    assert served(scorer, product, text=False) == shares(pictures.top)
    assert served(scorer, product, picture=False) == shares(texts.top)
    assert pictures.top[0].probability != pytest.approx(texts.top[0].probability, abs=1e-4)


def test_a_head_that_reads_both_together_gives_a_hint(stepped, product):
    pictures, texts = judge(stepped, product, 0, Allowance()).alone
    assert pictures.note == (
        "This model reads both together; here an empty text stood in for the rest, so it is a hint only."
    )
    assert "a black picture stood in" in texts.note
    assert served(stepped, product, text=False) == shares(pictures.top)


def test_a_model_of_words_cannot_tell_by_pictures(of_words, product):
    pictures, texts = judge(of_words, product, 0, Allowance()).alone
    assert pictures.top == ()
    assert pictures.note.startswith("This model can't tell by the pictures alone: it doesn't read them")
    assert len(texts.top) == TOP


def test_a_part_that_is_missing_is_not_asked(scorer, product):
    found = judge(scorer, Product(product.text, product.title, {}), 0, Allowance())
    assert served(scorer, product, picture=False) == shares(found.top)
    assert found.alone == ()


def test_what_is_not_sure_enough_is_unassigned(scorer, product):
    sure = judge(scorer, product, 0, Allowance()).top[0].probability
    assert judge(scorer, product, 0.9, Allowance()).is_assigned == (sure >= 0.3)
    unsure = judge(scorer, product, 0.99, Allowance())
    assert (unsure.is_assigned, unsure.least) == (False, 1.01)
    with pytest.raises(RowError, match=r"^precision: found 0\.999, but .* reach only 0\.9, 0\.99$"):
        judge(scorer, product, 0.999, Allowance())


def test_a_picture_that_is_none_is_named(scorer, product):
    broken = Product(product.text, product.title, {"shoe.png": b"no picture"})
    with pytest.raises(RowError, match=r"^shoe\.png: cannot identify .*; take it out, or send another file$"):
        judge(scorer, broken, 0, Allowance())
