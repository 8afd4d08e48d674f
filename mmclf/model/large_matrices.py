"""Matrices of features, which may be larger than the memory."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import torch

from .pooling import mean_by_row

# a matrix that would take more than this share of the memory lies in a file
MEMORY_SHARE = 0.25
GATHER_ROWS = 65_536


def allocate(rows: int, width: int, folder: Path | None) -> np.ndarray:
    """An empty float32 (rows, width), in a file without a name where it would take too much of the memory.

    Args:
        rows: of the matrix.
        width: of the matrix.
        folder: of the file, made where it doesn't exist; None for the system's own for such files.
    """
    if 4 * rows * width <= MEMORY_SHARE * psutil.virtual_memory().total:
        return np.empty((rows, width), dtype=np.float32)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, width))


def take(found: np.ndarray, places: np.ndarray, folder: Path | None) -> np.ndarray:
    """Rows of a matrix, some at a time.

    Args:
        found: float32 (n, d).
        places: int64 (rows,), which of the n.
        folder: see `allocate`.

    Returns:
        float32 (rows, d).
    """
    rows = allocate(len(places), found.shape[1], folder)
    for start in range(0, len(places), GATHER_ROWS):
        part = places[start : start + GATHER_ROWS]
        rows[start : start + len(part)] = found[part]
    return rows


def take_means(found: np.ndarray, places: Sequence[Sequence[int]], folder: Path | None) -> np.ndarray:
    """Means over rows of a matrix, some at a time.

    Args:
        found: float32 (n, d).
        places: for each row of the result, over which of the n; at least one.
        folder: see `allocate`.

    Returns:
        float32 (len(places), d).
    """
    rows = allocate(len(places), found.shape[1], folder)
    for start in range(0, len(places), GATHER_ROWS):
        part = places[start : start + GATHER_ROWS]
        row_of = torch.repeat_interleave(torch.arange(len(part)), torch.tensor([len(each) for each in part]))
        features = torch.from_numpy(found[[place for each in part for place in each]])
        rows[start : start + len(part)] = mean_by_row(features, row_of, len(part)).numpy()
    return rows
