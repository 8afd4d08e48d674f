"""Pictures are decoded and resized once, and the views stay what they are.

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
from mmclf.store.cache import Cache
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
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


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


def kept(cache):
    return sorted(path for path in cache.root.glob("pictures/**/*") if path.is_file())


@pytest.mark.parametrize("with_cache", [False, True])
def test_views_are_those_of_the_transform_to_the_bit(root, cache, with_cache):
    for _ in range(2):  # made, then found
        pictures = Pictures(root, TRANSFORM, cache=cache if with_cache else None)
        for view in VIEWS:
            assert torch.equal(pictures.view(view), direct(root, view))
    assert bool(kept(cache)) == with_cache
    assert torch.equal(pictures.placeholder(), TRANSFORM.placeholder())


def test_each_picture_is_decoded_once_for_all_crops_and_processes(root, cache, decoded):
    for _ in range(3):
        pictures = Pictures(root, TRANSFORM, cache=cache)
        for seed in range(20):
            pictures.view(View("a.png", seed))
    assert decoded == ["a.png"]


def test_identical_files_are_kept_once(root, cache, decoded):
    (root / "copy.png").write_bytes((root / "a.png").read_bytes())
    pictures = Pictures(root, TRANSFORM, cache=cache)
    assert torch.equal(pictures.view(View("a.png", 3)), pictures.view(View("copy.png", 3)))
    assert decoded == ["a.png"]
    assert len(kept(cache)) == 1


def test_another_content_under_the_same_name_is_another_picture(root, cache):
    before = Pictures(root, TRANSFORM, cache=cache).view(VIEWS[0])
    Image.new("RGB", (40, 40), "red").save(root / "a.png")
    after = Pictures(root, TRANSFORM, cache=cache).view(VIEWS[0])
    assert not torch.equal(before, after)
    assert torch.equal(after, direct(root, VIEWS[0]))


def test_other_sizes_and_interpolations_are_kept_apart(root, cache):
    for transform in (
        TRANSFORM,
        Transform(48, (0.5,) * 3, (0.5,) * 3),
        Transform(SIZE, (0,) * 3, (1,) * 3, "bilinear"),
    ):
        view = Pictures(root, transform, cache=cache).view(VIEWS[0])
        assert torch.equal(view, transform.eval_view(load_picture(root / "a.png")))
    assert len(kept(cache)) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_damaged_file_is_made_again(root, cache, decoded, damage):
    expected = Pictures(root, TRANSFORM, cache=cache).view(VIEWS[1])
    (path,) = kept(cache)
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "header":
        content[4] ^= 1
    path.write_bytes({"cut": whole[:100], "empty": b""}.get(damage, content))
    assert torch.equal(Pictures(root, TRANSFORM, cache=cache).view(VIEWS[1]), expected)
    assert decoded == ["a.png", "a.png"]
    assert path.read_bytes() == whole


def test_a_very_elongated_picture_is_not_worth_its_room(root, cache):
    Image.new("RGB", (60, 6000)).save(root / "long.png")
    transform = Transform(224, (0.5,) * 3, (0.5,) * 3)
    view = Pictures(root, transform, cache=cache).view(View("long.png", 1))
    assert view.shape == (3, 224, 224)
    assert kept(cache) == []


@pytest.mark.parametrize("with_cache", [False, True])
def test_an_unreadable_picture_is_named(root, cache, with_cache):
    (root / "bad.jpg").write_bytes(b"no picture")
    pictures = Pictures(root, TRANSFORM, cache=cache if with_cache else None)
    for name in ("bad.jpg", "missing.jpg"):
        for seed in (None, 1):
            with pytest.raises(PictureError, match=rf"^{name}: \w"):
                pictures.view(View(name, seed))
    assert kept(cache) == []


def test_a_large_jpeg_goes_under_a_name_of_its_own_when_drafted(root, cache):
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    small.resize((900, 700), Image.Resampling.BICUBIC).save(root / "large.jpg")
    exact = Pictures(root, TRANSFORM, cache=cache).view(View("large.jpg", None))
    fast = Pictures(root, TRANSFORM, cache=cache, draft=SIZE + 32).view(View("large.jpg", None))
    assert 0 < (exact.float() - fast.float()).abs().mean() < 1
    assert len(kept(cache)) == 2
