"""Views: which picture of a row is shown to a tower, and how it is cropped.

A view is a function of (seed, epoch, row id) alone, so the number of workers, the batch size and the order of the rows
change nothing.
"""

from dataclasses import dataclass

from ..runtime.seeds import derive_seed
from .rows import Rows

# the eval view, where a training view has the number of its epoch
EVAL = -1


@dataclass(frozen=True)
class View:
    """A picture as it is shown to a tower.

    Attributes:
        name: of the picture.
        seed: of the random crop; None for the eval view.
    """

    name: str
    seed: int | None


def count_views(rows: Rows, mode: str) -> int:
    """How many pictures are looked at in one pass over the rows; `mode` is `data.multi_image_mode`."""
    return sum(len(names) if mode == "mean_pool" else min(len(names), 1) for names in rows.pictures)


def views_of_row(rows: Rows, row: int, epoch: int, multi_image_mode: str, seed: int) -> list[View]:
    """The views that a row is shown by in an epoch; none where it has no picture.

    Args:
        rows: the products.
        row: position of one of them.
        epoch: 1 for the first, EVAL for the eval view.
        multi_image_mode: "first", "random" (one per epoch, in training) or "mean_pool" (all).
        seed: of the run.
    """
    row_id, names = rows.ids[row], rows.pictures[row]
    if names and multi_image_mode == "random" and epoch != EVAL:
        chosen = [derive_seed(seed, epoch, row_id, "picture") % len(names)]
    elif multi_image_mode == "mean_pool":
        chosen = list(range(len(names)))
    else:
        chosen = [0] if names else []
    return [View(names[n], None if epoch == EVAL else derive_seed(seed, epoch, row_id, n)) for n in chosen]
