"""Which pictures are taken for the same.

.venv/bin/python -m pytest tests/checking/test_similar_pictures.py
"""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from mmclf.checking.looks import look_at
from mmclf.checking.similar_pictures import same_files, similar_pictures
from mmclf.config import DataConfig
from tests.pictures import noise


def looks_of(folder, **pictures):
    """Pictures saved as PNG and looked at; `bytes` are written as they are."""
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.save(path)
    return look_at(folder, [f"{name}.png" for name in pictures], DataConfig())


def are_same(folder, first, second):
    found = similar_pictures(looks_of(folder, first=first, second=second))
    return bool(found[0] == found[1])


def ring(colour="orange", stone="red", shift=0):
    picture = Image.new("RGB", (120, 120), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20 + shift, 40, 80 + shift, 100), outline=colour, width=10)
    draw.rectangle((40 + shift, 25, 62 + shift, 47), fill=stone)
    return picture


def as_jpeg(picture, quality, folder):
    picture.save(folder / "again.jpg", quality=quality)
    return Image.open(folder / "again.jpg")


@pytest.mark.parametrize("picture", [noise(200, 150, seed=3), ring()], ids=["photograph", "drawing"])
def test_size_compression_brightness_and_contrast_change_nothing(tmp_path, picture):
    for other in (
        picture.resize((90, 70)),
        as_jpeg(picture, 40, tmp_path),
        ImageEnhance.Brightness(picture).enhance(0.85),
        ImageEnhance.Contrast(picture).enhance(1.15),
    ):
        assert are_same(tmp_path, picture, other)


def test_other_pictures_are_others(tmp_path):
    assert not are_same(tmp_path, noise(200, 150, seed=3), noise(200, 150, seed=4))
    assert not are_same(tmp_path, ring(), ring(stone="green"))
    assert not are_same(tmp_path, ring(), ring(colour="grey"))
    assert not are_same(tmp_path, ring(), ring(shift=15))
    assert not are_same(tmp_path, ring(), ring().transpose(Image.Transpose.FLIP_TOP_BOTTOM))


def test_a_blank_picture_is_like_its_copy_alone(tmp_path):
    white, grey = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), (250, 250, 250))
    looks = looks_of(tmp_path, a=white, b=white, c=grey)
    assert looks.is_flat.all()
    found = similar_pictures(looks)
    assert found[0] == found[1] != found[2]
    hue = Image.new("RGB", (64, 64), (255, 0, 0))
    ImageDraw.Draw(hue).rectangle((20, 20, 40, 40), fill=(0, 130, 0))  # as bright as its ground
    thin = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(thin).line((5, 30, 60, 33), fill="grey")
    assert not looks_of(tmp_path, hue=hue, thin=thin).is_flat.any()


def test_what_cannot_be_read_is_named_and_like_nothing_else(tmp_path):
    looks = looks_of(tmp_path, a=noise(40, 40), b=b"no picture", c=b"none either", d=noise(40, 40))
    assert sorted(looks.problems) == [1, 2]
    assert "b.png: cannot identify image file" in looks.problems[1]
    assert looks.sizes.tolist() == [[40, 40], [0, 0], [0, 0], [40, 40]]
    assert looks.is_readable.tolist() == [True, False, False, True]
    found = similar_pictures(looks)
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 3
    assert len(set(same_files(looks).tolist())) == 3


def test_many_are_compared_in_portions(tmp_path, monkeypatch):
    pictures = {f"p{n}": noise(40, 40, seed=n % 7) for n in range(30)}
    whole = similar_pictures(
        looks_of(tmp_path, **{k: v.resize((40, 41 + n)) for n, (k, v) in enumerate(pictures.items())})
    )
    monkeypatch.setattr("mmclf.checking.similar_pictures.STEP", 64)
    looks = look_at(tmp_path, [f"p{n}.png" for n in range(30)], DataConfig())
    assert len(set(looks.digests)) == 30
    assert np.array_equal(similar_pictures(looks), whole)
    assert len(set(whole.tolist())) == 7
