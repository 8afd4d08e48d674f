"""What each picture looks like, in a few bytes: read once, in threads, whatever is asked of it afterwards.

The hash is the perceptual one of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010):
the signs of the lowest frequencies of a 32 x 32 grey picture about their median.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn

from ..config import DataConfig
from ..data.decoding import decode_picture, picture_size, read_file
from ..errors import PictureError
from ..runtime.progress import track

SIDE, SMALL, LOWEST = 32, 16, 8
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's own "L"
# pictures a step, and threads: each holds a decoded picture
STEP, MOST_THREADS = 256, 8
# levels that lie apart in a channel of a picture that shows something, be it a thin line or of another hue alone
FLAT = 6


@dataclass(frozen=True)
class Looks:
    """Pictures, one a row.

    Attributes:
        names: of the files.
        sizes: int64 (n, 2), width and height in pixels as they are stored; 0 where that isn't known.
        digests: of the files' bytes, "" where they can't be read.
        hashes: uint64 (n,), perceptual; 0 for what can't be read.
        thumbs: uint8 (n, 16, 16, 3), RGB.
        problems: a sentence for each that can't be read, by its position.
    """

    names: list[str]
    sizes: np.ndarray
    digests: list[str]
    hashes: np.ndarray
    thumbs: np.ndarray
    problems: dict[int, str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_readable(self) -> np.ndarray:
        """Bool (n,)."""
        found = np.ones(len(self), dtype=bool)
        found[list(self.problems)] = False
        return found

    @property
    def is_flat(self) -> np.ndarray:
        """Bool (n,): readable, and of one colour."""
        apart = np.ptp(self.thumbs.reshape(len(self), -1, 3), axis=1).max(axis=1, initial=0)
        found: np.ndarray = self.is_readable & (apart < FLAT)
        return found


@dataclass(frozen=True)
class _Look:
    digest: str
    size: tuple[int, int]
    pixels: np.ndarray
    problem: str


def look_at(folder: Path, names: Sequence[str], data: DataConfig) -> Looks:
    """Read pictures, each once; a few kilobytes of each are kept.

    Args:
        folder: of the pictures.
        names: of the files, each once.
        data: how they will be read in training.
    """
    sizes = np.zeros((len(names), 2), dtype=np.int64)
    hashes = np.zeros(len(names), dtype=np.uint64)
    thumbs = np.zeros((len(names), SMALL, SMALL, 3), dtype=np.uint8)
    digests: list[str] = []
    problems: dict[int, str] = {}
    steps = [names[start : start + STEP] for start in range(0, len(names), STEP)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        for part in track(steps, len(steps), "check: pictures"):
            start = len(digests)
            found = list(pool.map(lambda name: _look(folder / name, data), part))
            pixels = np.stack([each.pixels for each in found])
            here = slice(start, start + len(part))
            hashes[here], thumbs[here] = perceptual_hashes(pixels), _halved(pixels)
            for position, each in enumerate(found, start=start):
                digests.append(each.digest)
                sizes[position] = each.size
                if each.problem:
                    problems[position], hashes[position] = each.problem, 0
    return Looks(list(names), sizes, digests, hashes, thumbs, problems)


def perceptual_hashes(pixels: np.ndarray) -> np.ndarray:
    """uint64 (n,) of uint8 (n, 32, 32, 3)."""
    greys = pixels.astype(np.float32) @ LUMA
    lowest = dctn(greys, axes=(1, 2), norm="ortho")[:, :LOWEST, :LOWEST].reshape(len(pixels), -1)
    lowest[:, 0] = 0  # the mean, which brightness changes
    bits = lowest > np.median(lowest[:, 1:], axis=1, keepdims=True)
    found: np.ndarray = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return found


def _look(path: Path, data: DataConfig) -> _Look:
    blank = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    try:
        content = read_file(path)
    except PictureError as error:
        return _Look("", (0, 0), blank, str(error))
    digest, size = hashlib.sha256(content).hexdigest()[:32], picture_size(content)
    try:
        draft = SIDE if data.fast_jpeg else None
        picture = decode_picture(content, path.name, draft=draft, max_megapixels=data.max_megapixels)
    except PictureError as error:
        return _Look(digest, size, blank, str(error))
    return _Look(digest, size, np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)), "")


def _halved(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, 16, 16, 3) of uint8 (n, 32, 32, 3)."""
    parts = pixels.reshape(len(pixels), SMALL, 2, SMALL, 2, 3).astype(np.uint16)
    found: np.ndarray = (parts.sum(axis=(2, 4)) // 4).astype(np.uint8)
    return found
