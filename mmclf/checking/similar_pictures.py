"""Pictures that are the same drawing or photograph, as files or but for their size, compression and brightness.

Hashes find candidates, small copies decide: on clip art and sprites a hash alone takes every fifth pair of outlines for
one (docs/lab-log.md, 2026-11-27). Another colour is another picture.
"""

from collections.abc import Iterator

import numpy as np

from .looks import Looks
from .sets import joined

# bits of a hash that may differ
DISTANCE = 8
# least correlation of two small copies, and grey levels that the worst of 8 x 8 parts of them may differ by, once their
# contrast is made equal; contrasts may differ by this factor
CORRELATION, DIFFERENCE, CONTRAST = 0.97, 12.0, 1.5
# hashes and small copies that are compared at a time, and candidates of a picture that are looked at
STEP, AT_ONCE, MOST = 2**22, 2**12, 50


def same_files(looks: Looks) -> np.ndarray:
    """int64 (n,): sets of pictures with the same bytes."""
    digests = [digest or f"\x1f{n}" for n, digest in enumerate(looks.digests)]
    found: np.ndarray = np.unique(digests, return_inverse=True)[1].astype(np.int64)
    return found


def similar_pictures(looks: Looks) -> np.ndarray:
    """int64 (n,): sets of pictures that are the same, and of those that look it.

    Each picture is compared with each other one, in portions: memory grows with n alone, and 100,000 pictures take
    half a minute.
    """
    files = same_files(looks)
    one_of_each = np.unique(files, return_index=True)[1]
    usable = one_of_each[(looks.is_readable & ~looks.is_flat)[one_of_each]]
    pairs = list(_pairs(looks, usable))
    first = np.concatenate([np.empty(0, np.int64), *(a for a, _ in pairs)])
    second = np.concatenate([np.empty(0, np.int64), *(b for _, b in pairs)])
    found: np.ndarray = joined(int(files.max(initial=-1)) + 1, files[first], files[second])[files]
    return found


def _pairs(looks: Looks, usable: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of pictures that look the same, int64 each."""
    hashes, thumbs = looks.hashes[usable], looks.thumbs[usable]
    step = max(1, STEP // max(1, len(usable)))
    for start in range(0, len(usable), step):
        near = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:]) <= DISTANCE
        near &= _later(near.shape)
        near &= np.cumsum(near, axis=1) <= MOST
        a, b = np.nonzero(near)
        for place in range(0, len(a), AT_ONCE):
            first, second = a[place : place + AT_ONCE] + start, b[place : place + AT_ONCE] + start
            alike = look_alike(thumbs[first], thumbs[second])
            yield usable[first[alike]], usable[second[alike]]


def _later(shape: tuple[int, ...]) -> np.ndarray:
    """Bool, which columns come after the row's own."""
    found: np.ndarray = np.arange(shape[1])[None] > np.arange(shape[0])[:, None]
    return found


def look_alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bool (n,): whether small copies, uint8 (n, 16, 16, 3) each, show the same."""
    a, b = (_centred(each) for each in (first, second))
    size_a, size_b = (np.sqrt((each**2).mean(axis=(1, 2, 3))) + 1e-3 for each in (a, b))
    correlation = (a * b).mean(axis=(1, 2, 3)) / (size_a * size_b)
    mean = (size_a + size_b) / 2
    apart = np.abs(a * (mean / size_a)[:, None, None, None] - b * (mean / size_b)[:, None, None, None])
    worst = apart.reshape(len(a), 8, 2, 8, 2, 3).mean(axis=(2, 4, 5)).reshape(len(a), -1).max(axis=1, initial=0.0)
    contrast = np.maximum(size_a, size_b) / np.minimum(size_a, size_b)
    found: np.ndarray = (correlation >= CORRELATION) & (worst <= DIFFERENCE) & (contrast <= CONTRAST)
    return found


def _centred(thumbs: np.ndarray) -> np.ndarray:
    values = thumbs.astype(np.float32)
    found: np.ndarray = values - values.mean(axis=(1, 2, 3), keepdims=True)
    return found
