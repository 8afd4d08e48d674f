"""python -m pytest tests/data/test_images.py"""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from mmclf.data.decoding import decode_picture
from mmclf.data.images import (
    CROP_RATIO,
    CROP_SCALE,
    Transform,
    _random_crop,
    as_triple,
    flip,
)
from tests.pictures import halves, load_picture, noise

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SIZE = 64
TRANSFORM = Transform(SIZE, MEAN, STD)
INTERPOLATIONS = {"bicubic": T.InterpolationMode.BICUBIC, "bilinear": T.InterpolationMode.BILINEAR}


def to_tensor() -> list[object]:
    return [T.ToTensor(), T.Normalize(MEAN, STD)]


def normalised(view):
    return TRANSFORM.normalise(view[None])[0]


def train_view(picture, seed, transform=TRANSFORM):
    return transform.random_view(transform.enlarge(picture), seed)


# eval view


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize("size", [(100, 80), (80, 101), (64, 64), (20, 31), (1, 1), (300, 70)])
def test_eval_view_is_the_recipes_transform(size, interpolation):
    picture = noise(*size)
    expected = T.Compose([T.Resize(SIZE, INTERPOLATIONS[interpolation]), T.CenterCrop(SIZE), *to_tensor()])(picture)
    view = Transform(SIZE, MEAN, STD, interpolation).eval_view(picture)
    assert view.dtype == torch.uint8
    assert view.shape == (3, SIZE, SIZE)
    torch.testing.assert_close(normalised(view), expected, rtol=0, atol=1e-6)


def test_eval_view_draws_no_random_number():
    picture, before = noise(90, 70), torch.get_rng_state()
    assert torch.equal(TRANSFORM.eval_view(picture), TRANSFORM.eval_view(picture))
    assert torch.equal(torch.get_rng_state(), before)


# The crop starts at round((width - SIZE) / 2): with an even margin it is symmetric and the flips agree; with an
# odd one they'd be a column apart. Pillow rounds to 8 bits after each resampling pass, and its filter weights
# are rounded as well, so that a mirrored picture may come out one step of 255 away.
@pytest.mark.parametrize("size", [(100, 64), (64, 90), (128, 128), (200, 128)])
def test_flip_of_the_eval_view_is_the_eval_view_of_the_flipped_picture(size):
    picture = noise(*size)
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped = flip(TRANSFORM.eval_view(picture)[None])[0]
    assert not torch.equal(flipped, TRANSFORM.eval_view(picture))
    exact = min(size) == SIZE  # then Resize leaves the pixels alone
    torch.testing.assert_close(flipped.int(), TRANSFORM.eval_view(mirrored).int(), rtol=0, atol=0 if exact else 1)


def test_flip_mirrors_columns_of_every_picture():
    images = torch.arange(2 * 3 * 2 * 4.0).reshape(2, 3, 2, 4)
    assert torch.equal(flip(images), images[..., [3, 2, 1, 0]])


# train view


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize("size", [(120, 90), (70, 140), (30, 30)])
def test_train_view_is_the_recipes_transform_under_the_same_seed(size, interpolation):
    picture, mode = noise(*size), INTERPOLATIONS[interpolation]
    recipe = T.Compose(
        [T.Resize(SIZE + 32, mode), T.RandomResizedCrop(SIZE, interpolation=mode), T.RandomHorizontalFlip()]
    )
    flipped = 0
    for seed in range(8):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            cropped = recipe(picture)
        expected = T.Compose(to_tensor())(cropped)
        view = train_view(picture, seed, Transform(SIZE, MEAN, STD, interpolation))
        assert view.dtype == torch.uint8
        torch.testing.assert_close(normalised(view), expected, rtol=0, atol=1e-6)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            T.RandomResizedCrop.get_params(Image.new("RGB", (96, 96)), [0.08, 1.0], [3 / 4, 4 / 3])
            flipped += int(torch.rand(1) < 0.5)
    assert view.shape == (3, SIZE, SIZE)
    assert 0 < flipped < 8  # both ways were met


def test_train_view_depends_on_the_seed_alone():
    picture = noise(120, 90)
    torch.manual_seed(1)
    first = train_view(picture, 5)
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(train_view(picture, 5), first)
    assert not torch.equal(train_view(picture, 6), first)


def test_train_view_takes_any_seed_that_derive_seed_makes():
    views = [train_view(noise(80, 80), seed) for seed in (0, 2**63 - 1)]
    assert not torch.equal(views[0], views[1])


def test_train_view_leaves_the_callers_generators_alone(monkeypatch):
    # torch.manual_seed reseeds the GPUs too: dropout would repeat itself after every picture
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the GPU's generator was reseeded"))
    before = torch.get_rng_state()
    train_view(noise(80, 80), 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_train_views_flip_about_half_of_the_time():
    picture = halves().resize((96, 96))
    means = [train_view(picture, seed)[0].float() for seed in range(100)]
    red_on_the_right = sum(bool(view[:, -8:].mean() > view[:, :8].mean()) for view in means)
    red_on_the_left = sum(bool(view[:, -8:].mean() < view[:, :8].mean()) for view in means)
    assert red_on_the_left >= 25
    assert red_on_the_right >= 25


# Pillow's sizes are given as width, height
@pytest.mark.parametrize("size", [(318, 256), (256, 300), (2000, 256), (256, 3000), (96, 96), (17, 16), (1, 1)])
def test_the_crop_is_torchvisions_to_the_pixel(size):
    """The elongated ones often find no crop in ten draws, and take the middle."""
    for seed in range(300):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = T.RandomResizedCrop.get_params(Image.new("L", size), CROP_SCALE, CROP_RATIO)
            after = torch.rand(1)
        generator = torch.Generator().manual_seed(seed)
        assert _random_crop(size[1], size[0], generator) == tuple(expected)
        assert torch.equal(torch.rand(1, generator=generator), after)  # the flip is drawn next


# large pictures, decoded at a fraction of their size


def photo(width, height) -> Image.Image:
    """Smooth ground, hard edges and fine grain: what a photo of a product has."""
    rng = np.random.default_rng(0)
    ground = np.asarray(noise(width, height), dtype=float)
    ground[height // 4 : height // 2, width // 3 : width // 2] = 240
    ground[:: height // 40, :] *= 0.8
    return Image.fromarray((ground + rng.normal(0, 5, ground.shape)).clip(0, 255).astype(np.uint8))


def jpeg(picture, path):
    picture.save(path, quality=90)
    return path.read_bytes()


@pytest.mark.parametrize(("size", "decoded"), [((1600, 1280), (800, 640)), ((2100, 4000), (525, 1000))])
def test_a_large_jpeg_is_decoded_small_without_another_result(tmp_path, size, decoded):
    side = 32 + 224
    transform = Transform(224, MEAN, STD)
    content = jpeg(photo(*size), tmp_path / "a.jpg")
    exact, fast = decode_picture(content, "a.jpg"), decode_picture(content, "a.jpg", draft=side)
    assert (exact.size, fast.size) == (size, decoded)
    assert min(fast.size) >= 2 * side
    views = [(transform.eval_view(exact), transform.eval_view(fast))]
    views += [(train_view(exact, seed, transform), train_view(fast, seed, transform)) for seed in range(5)]
    for one, other in views:
        assert (one.float() - other.float()).abs().mean() < 1  # of 255


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_other_pictures_are_decoded_exactly(tmp_path, name):
    picture = photo(1000, 1023) if name == "a.jpg" else photo(1600, 1280)
    picture.save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    exact, fast = decode_picture(content, name), decode_picture(content, name, draft=256)
    assert np.array_equal(np.asarray(exact), np.asarray(fast))


# placeholder


def test_placeholder_is_a_black_picture():
    assert torch.equal(TRANSFORM.placeholder(), TRANSFORM.eval_view(Image.new("RGB", (70, 90))))
    expected = -torch.tensor(MEAN) / torch.tensor(STD)
    torch.testing.assert_close(normalised(TRANSFORM.placeholder()), expected[:, None, None].expand(3, SIZE, SIZE))


def test_as_triple():
    assert as_triple([1, 2, 3]) == (1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="unpack"):
        as_triple([0.5])


# a picture that is decoded nearly too long


def test_the_most_elongated_picture_allowed_has_both_views(tmp_path):
    Image.new("RGB", (1000, 10)).save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png")
    assert TRANSFORM.eval_view(picture).shape == train_view(picture, 1).shape == (3, SIZE, SIZE)
