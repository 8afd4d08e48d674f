"""Pictures: safe decoding, and the recipe's two transforms.

Train: Resize(img_size + 32) -> RandomResizedCrop(img_size) -> RandomHorizontalFlip -> tensor -> normalise.
Eval: Resize(img_size) -> CenterCrop(img_size) -> tensor -> normalise. Both resizes act on the shorter side.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from .errors import PictureError

# enlargement before the random crop, in pixels (the recipe's Resize(img_size + 32))
TRAIN_MARGIN = 32
CROP_SCALE = [0.08, 1.0]  # torchvision's defaults, which the recipe keeps
CROP_RATIO = [3 / 4, 4 / 3]
# a picture more elongated than this would be resized to gigabytes before its crop
MAX_ELONGATION = 100
MAX_PIXELS = 178_956_970  # where Pillow refuses a decompression bomb; some packages switch its check off


def load_picture(path: Path) -> Image.Image:
    """Decode a picture to RGB, upright by its EXIF orientation, transparency on white.

    Raises:
        PictureError: the file is missing, damaged, no picture, or unreasonably large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata that doesn't matter here
            with Image.open(path) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise PictureError(f"{path.name}: {width} x {height} pixels are too many (at most {MAX_PIXELS:,})")
                if max(width, height) > MAX_ELONGATION * min(width, height):
                    raise PictureError(f"{path.name}: {width} x {height} pixels are too elongated to be a picture")
                opened.load()
                return _to_rgb(_upright(opened))
    except PictureError:
        raise
    # Pillow's plugins raise nearly anything on a damaged file
    except Exception as error:
        reason = str(error).replace(str(path), path.name) or type(error).__name__
        raise PictureError(f"{path.name}: {reason}") from None


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data in a PNG or WebP; the pixels are fine
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to white
        return Image.fromarray((np.asarray(picture, dtype=np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture).convert("RGB")
    return picture.convert("RGB")


@dataclass(frozen=True)
class Transform:
    """The recipe's transforms for one backbone.

    Attributes:
        img_size: side of the output, in pixels.
        mean, std: per channel, on the 0..1 scale.
        interpolation: of both resizes and the random crop ("bicubic", "bilinear", ...).
    """

    img_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"

    def eval_view(self, picture: Image.Image) -> torch.Tensor:
        """float32 (3, img_size, img_size): the centre of the picture, normalised."""
        resized = F.resize(picture, [self.img_size], interpolation=InterpolationMode(self.interpolation))
        return self._to_tensor(F.center_crop(resized, [self.img_size, self.img_size]))

    def train_view(self, picture: Image.Image, seed: int) -> torch.Tensor:
        """float32 (3, img_size, img_size): a random crop, flipped every second time; `seed` alone decides."""
        mode = InterpolationMode(self.interpolation)
        resized = F.resize(picture, [self.img_size + TRAIN_MARGIN], interpolation=mode)
        with torch.random.fork_rng(devices=[]):  # the caller's generator stays where it was
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU's dropout as well
            top, left, height, width = RandomResizedCrop.get_params(resized, CROP_SCALE, CROP_RATIO)
            flip = bool(torch.rand(1) < 0.5)
        view = F.resized_crop(resized, top, left, height, width, [self.img_size] * 2, interpolation=mode)
        return self._to_tensor(F.horizontal_flip(view) if flip else view)

    def placeholder(self) -> torch.Tensor:
        """float32 (3, img_size, img_size): a black picture, normalised."""
        return self._to_tensor(Image.new("RGB", (self.img_size, self.img_size)))

    def _to_tensor(self, picture: Image.Image) -> torch.Tensor:
        scaled = F.to_dtype(F.pil_to_tensor(picture), torch.float32, scale=True)
        normalised: torch.Tensor = F.normalize(scaled, list(self.mean), list(self.std))
        return normalised


def flip(images: torch.Tensor) -> torch.Tensor:
    """Horizontal flip of (n, 3, height, width); with CenterCrop the same as flipping the file."""
    return images.flip(-1)


def as_triple(values: Sequence[float]) -> tuple[float, float, float]:
    """Three channel values from any sequence of three."""
    red, green, blue = values
    return float(red), float(green), float(blue)
