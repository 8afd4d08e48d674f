"""The recipe's two transforms of a decoded picture.

Train: Resize(img_size + 32) -> RandomResizedCrop(img_size) -> RandomHorizontalFlip -> tensor -> normalise.
Eval: Resize(img_size) -> CenterCrop(img_size) -> tensor -> normalise. Both resizes act on the shorter side.

Views stay uint8 until they are on the model's device: a quarter of the bytes from worker to model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

# enlargement before the random crop, in pixels (the recipe's Resize(img_size + 32))
TRAIN_MARGIN = 32
CROP_SCALE = [0.08, 1.0]  # torchvision's defaults, which the recipe keeps
CROP_RATIO = [3 / 4, 4 / 3]


def draft_side(sizes: Sequence[int]) -> int:
    """What `decode_picture` is given for views of these sizes, random crops included."""
    return max(sizes) + TRAIN_MARGIN


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
        """uint8 (3, img_size, img_size): the centre of the picture."""
        functional, mode = _torchvision(self.interpolation)
        resized = functional.resize(picture, [self.img_size], interpolation=mode)
        return _to_tensor(functional.center_crop(resized, [self.img_size, self.img_size]))

    def enlarge(self, picture: Image.Image) -> Image.Image:
        """The picture with img_size + 32 pixels on its shorter side: what every random crop is cut from."""
        functional, mode = _torchvision(self.interpolation)
        resized: Image.Image = functional.resize(picture, [self.img_size + TRAIN_MARGIN], interpolation=mode)
        return resized

    def random_view(self, enlarged: Image.Image, seed: int) -> torch.Tensor:
        """uint8 (3, img_size, img_size): a random crop, flipped every second time; `seed` alone decides.

        Args:
            enlarged: made by `enlarge`.
            seed: of crop and flip.
        """
        functional, mode = _torchvision(self.interpolation)
        generator = torch.Generator().manual_seed(seed)
        top, left, height, width = _random_crop(enlarged.height, enlarged.width, generator)
        flip = bool(torch.rand(1, generator=generator) < 0.5)
        view = functional.resized_crop(enlarged, top, left, height, width, [self.img_size] * 2, interpolation=mode)
        return _to_tensor(functional.horizontal_flip(view) if flip else view)

    def placeholder(self) -> torch.Tensor:
        """uint8 (3, img_size, img_size): black."""
        return torch.zeros(3, self.img_size, self.img_size, dtype=torch.uint8)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (n, 3, height, width) -> float32 of the same shape, as the backbone was trained on."""
        functional, _ = _torchvision(self.interpolation)
        scaled = functional.to_dtype(images, torch.float32, scale=True)
        normalised: torch.Tensor = functional.normalize(scaled, list(self.mean), list(self.std), inplace=True)
        return normalised


def _random_crop(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop.

    The draws of torchvision's RandomResizedCrop, to the bit, from a generator of their own: torchvision's come from
    the global one, which belongs to the model's dropout, perhaps in another thread.
    """

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.empty(1).uniform_(low, high, generator=generator)

    log_ratio = torch.log(torch.tensor(CROP_RATIO))
    for _ in range(10):
        area = height * width * uniform(*CROP_SCALE).item()
        ratio = torch.exp(uniform(log_ratio[0].item(), log_ratio[1].item())).item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            return top, left, h, w
    # no draw fits: the largest crop in the middle whose ratio is allowed
    w = min(width, round(height * CROP_RATIO[1]))
    h = min(height, round(width / CROP_RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def _torchvision(interpolation: str) -> tuple[Any, Any]:
    """The functions and the interpolation mode of torchvision.

    Imported here, since it takes a second and a run on stored features needs no picture.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    return functional, InterpolationMode(interpolation)


def _to_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def flip(images: torch.Tensor) -> torch.Tensor:
    """Horizontal flip of (n, 3, height, width); with CenterCrop the same as flipping the file."""
    return images.flip(-1)


def as_triple(values: Sequence[float]) -> tuple[float, float, float]:
    """Three channel values from any sequence of three."""
    red, green, blue = values
    return float(red), float(green), float(blue)
