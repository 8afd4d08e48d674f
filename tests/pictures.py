"""Pictures as several test files read them."""

from pathlib import Path

import numpy as np
from PIL import Image

from mmclf.data.decoding import decode_picture, read_file

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def load_picture(path: Path) -> Image.Image:
    """A picture file, decoded."""
    return decode_picture(read_file(path), path.name)


def noise(width, height, seed=0) -> Image.Image:
    """A smooth random picture, so that every resampling error shows and none is exaggerated."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def halves(left=RED, right=BLUE) -> Image.Image:
    """One colour on the left, another one on the right."""
    picture = Image.new("RGB", (40, 20), left)
    picture.paste(right, (20, 0, 40, 20))
    return picture


def far(picture, point, colour):
    """The largest difference of a channel there."""
    return np.abs(np.asarray(picture, dtype=int)[point[1], point[0]] - colour).max()
