"""Each picture belongs to the longest id that its name begins with, whatever the ids and names.

.venv/bin/python -m pytest tests/data/test_picture_matching_properties.py
"""

import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mmclf.data.catalog import match_pictures
from mmclf.errors import PictureError

LETTERS = st.sampled_from(["a", "A", "_", "1", "2", "10", ".", " ", "ö", "o\u0308", "-"])
STEMS = st.lists(LETTERS, min_size=1, max_size=6).map("".join)
SUFFIXES = st.sampled_from([".jpg", ".JPG", ".png", ".jpeg", ".webp", ".gif", ".tiff", ".txt", "", ".jpg.part"])
FIRST = (".jpg", ".png", ".jpeg", ".webp")
PICTURES = (*FIRST, ".gif", ".tiff", ".bmp", ".tif")


def composed(text):
    return unicodedata.normalize("NFC", text)


def belongs(name, owner):
    """The rule as the documentation has it, for one id."""
    name = composed(name)
    stem, suffix = name[: name.rfind(".")], name[name.rfind(".") :].lower()
    if "." not in name or suffix not in PICTURES:
        return False
    return (stem == composed(owner) and suffix in FIRST) or stem.startswith(composed(owner) + "_")


@st.composite
def folders(draw):
    """Ids, and names of files of which many begin with one."""
    ids = draw(st.lists(STEMS, min_size=1, max_size=5, unique_by=composed))
    stems = st.one_of(STEMS, st.sampled_from(ids), st.tuples(st.sampled_from(ids), STEMS).map("_".join))
    names = draw(st.lists(st.tuples(stems, SUFFIXES).map("".join), max_size=8, unique=True))
    return ids, [name for name in names if name not in (".", "..")]


@given(folders(), st.randoms(use_true_random=False))
def test_every_picture_lies_with_the_longest_id_that_fits_and_with_no_other(drawn, random):
    ids, names = drawn
    expected = {owner: set() for owner in ids}
    for name in names:
        fitting = [owner for owner in ids if belongs(name, owner)]
        if fitting:
            expected[max(fitting, key=lambda owner: len(composed(owner)))].add(name)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).touch()
        try:
            found = match_pictures(Path(folder), ids)
        except PictureError:
            assert not any(expected.values())
            return
        assert {owner: set(of) for owner, of in zip(ids, found, strict=True)} == expected
        assert sum(map(len, found)) == len({name for of in found for name in of})
        # neither the order of the rows nor ids without a part in it change anything
        order = random.sample(ids, len(ids))
        assert dict(zip(order, match_pictures(Path(folder), order), strict=True)) == dict(zip(ids, found, strict=True))
        for owner, of in zip(ids, found, strict=True):
            own = [composed(name).rpartition(".")[0] == composed(owner) for name in of]
            assert own == sorted(own, reverse=True)
