"""Views of pictures, from files and from memory.

.venv/bin/python -m pytest tests/data/test_pictures.py
"""

import numpy as np
import pytest
import torch
from PIL import Image

from mmclf.data import pictures as module
from mmclf.data.images import Transform
from mmclf.data.pictures import Pictures
from mmclf.data.views import View
from mmclf.errors import PictureError
from tests.pictures import load_picture

SIZE = 32
TRANSFORM = Transform(SIZE, (0.5,) * 3, (0.5,) * 3)
VIEWS = [View("a.png", None), View("a.png", 7), View("a.png", 8), View("b.jpg", None), View("b.jpg", 7)]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in [("a.png", (50, 90)), ("b.jpg", (120, 80))]:
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded."""
    names = []
    real = module.decode_picture
    monkeypatch.setattr(module, "decode_picture", lambda c, name, **k: names.append(name) or real(c, name, **k))
    return names


def direct(root, view):
    picture = load_picture(root / view.name)
    if view.seed is None:
        return TRANSFORM.eval_view(picture)
    return TRANSFORM.random_view(TRANSFORM.enlarge(picture), view.seed)


def test_views_are_those_of_the_transform_to_the_bit(root):
    pictures = Pictures(root, TRANSFORM)
    for view in VIEWS:
        assert torch.equal(pictures.view(view), direct(root, view))
    assert torch.equal(pictures.placeholder(), TRANSFORM.placeholder())


def test_a_picture_is_decoded_once_for_all_sizes(root, decoded):
    pictures = Pictures(root, TRANSFORM)
    large = Transform(48, (0.5,) * 3, (0.5,) * 3)
    smooth = Transform(SIZE, (0,) * 3, (1,) * 3, "bilinear")
    for name in ("a.png", "b.jpg"):
        pictures.view(View(name, None))
        for other, transform in zip(pictures.at_other_sizes([large, smooth]), (large, smooth), strict=True):
            assert torch.equal(other.view(View(name, None)), transform.eval_view(load_picture(root / name)))
    assert decoded == ["a.png", "b.jpg"]


def test_contents_in_memory_are_as_good_as_files(root):
    contents = {path.name: path.read_bytes() for path in root.iterdir()}
    for view in VIEWS:
        assert torch.equal(Pictures(contents, TRANSFORM).view(view), direct(root, view))


def test_the_digest_is_that_of_the_content(root):
    (root / "copy.png").write_bytes((root / "a.png").read_bytes())
    pictures = Pictures(root, TRANSFORM)
    assert pictures.digest("a.png") == pictures.digest("copy.png") != pictures.digest("b.jpg")
    with pytest.raises(PictureError, match=r"^missing.jpg: can't be read"):
        pictures.digest("missing.jpg")


def test_an_unreadable_picture_is_named(root):
    (root / "bad.jpg").write_bytes(b"no picture")
    pictures = Pictures(root, TRANSFORM)
    for name in ("bad.jpg", "missing.jpg"):
        for seed in (None, 1):
            with pytest.raises(PictureError, match=rf"^{name}: \w"):
                pictures.view(View(name, seed))


def test_a_large_jpeg_may_be_drafted(root):
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    small.resize((900, 700), Image.Resampling.BICUBIC).save(root / "large.jpg")
    exact = Pictures(root, TRANSFORM).view(View("large.jpg", None))
    fast = Pictures(root, TRANSFORM, draft=SIZE + 32).view(View("large.jpg", None))
    assert 0 < (exact.float() - fast.float()).abs().mean() < 1
