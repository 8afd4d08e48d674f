"""Where a picture has edges, and which way they run: histograms of oriented gradients.

What towers make of a picture is a mean over its places, in which the layout is lost. Dalal and Triggs, Histograms of
Oriented Gradients for Human Detection (2005): a grey picture, gradients, their directions counted by length in each
cell of a grid.
"""

import math

import torch
from torch.nn import functional

# sides of the grey picture and of the grid, directions of half a turn
SIDE, CELLS, DIRECTIONS = 64, 8, 9
# gradients below it, of grey in [0, 1], count as flat
FLAT = 0.01


def outlines(images: torch.Tensor) -> torch.Tensor:
    """Histograms of pictures, float32 (n, OUTLINE_DIM), that of each cell at most 1 long.

    A picture and its mirror image have the same: both are averaged.

    Args:
        images: uint8 (n, 3, height, width).
    """
    grey = functional.interpolate(images.float() / 255, size=(SIDE, SIDE), mode="area").mean(dim=1)
    framed = functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (framed[:, 1:-1, 2:] - framed[:, 1:-1, :-2]) / 2
    down = (framed[:, 2:, 1:-1] - framed[:, :-2, 1:-1]) / 2
    lengths = torch.hypot(across, down)
    # a gradient counts for the two directions that it lies between
    turned = torch.atan2(down, across).remainder(math.pi) / math.pi * DIRECTIONS
    lower = turned.floor()
    share = turned - lower
    counts = images.new_zeros((len(images), DIRECTIONS, SIDE, SIDE), dtype=torch.float32)
    for direction, part in ((lower, 1 - share), (lower + 1, share)):
        places = direction.long().remainder(DIRECTIONS)[:, None]
        counts.scatter_add_(1, places, (lengths * part)[:, None])
    cells = functional.avg_pool2d(counts, SIDE // CELLS)
    scaled: torch.Tensor = cells / (cells.norm(dim=1, keepdim=True) + FLAT)
    return ((scaled + _mirrored(scaled)) / 2).flatten(1)


def _mirrored(cells: torch.Tensor) -> torch.Tensor:
    """What the mirror images have, (n, DIRECTIONS, CELLS, CELLS): direction d becomes -d."""
    found: torch.Tensor = cells.flip(3)[:, [-d % DIRECTIONS for d in range(DIRECTIONS)]]
    return found
