"""Memory and disk that the work on a table takes, about; the figures behind it stand in docs/sizing.md."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..store.cache import GIB
from . import plan

if TYPE_CHECKING:
    from ..data.rows import Rows
    from ..model.identity import BackboneIdentity
    from .plan import Step

# of a process with its libraries: one that scores, and `fit`, which trains, compares and packs
LIBRARIES, ALL_LIBRARIES = 0.8 * GIB, 1.4 * GIB
# peak of a kernel head beside them, by the rows of the table
KERNEL_MEMORY = {1_000: 0.2 * GIB, 10_000: 3.1 * GIB, 100_000: 3.1 * GIB, 1_000_000: 7.0 * GIB}
# float32 weights, gradients and AdamW's two moments; and what a row of a step keeps, in sizes of the weights
TRAINED_COPIES, ROW_ACTIVATIONS = 4.0, 0.12
FLOAT, MIB = 4, 2**20
# of Spark's driver on one machine, and of a row of the result
SPARK, RESULT_BYTES = 2.5 * GIB, 120


@dataclass(frozen=True)
class Needs:
    """Bytes: of memory (what is trained on a GPU is in the GPU's), of the cache, and of the store or the result."""

    memory: float
    cache: float
    store: float

    def __str__(self) -> str:
        features = f"{_size(self.cache)} of features and " if self.cache else ""
        return f"memory about {_size(self.memory)}; disk about {features}{_size(self.store)} of results"


def _size(bytes_of_it: float) -> str:
    if bytes_of_it < GIB / 10:
        return f"{max(bytes_of_it / MIB, 1):.0f} MiB"
    return f"{bytes_of_it / GIB:.1f} GiB"


def needs_of_fit(rows: "Rows", pictures: int, identity: "BackboneIdentity", steps: "list[Step]", parameters: int,
                 folds: int) -> Needs:  # fmt: skip
    """What `fit` takes.

    Args:
        rows: of the table.
        pictures: that are looked at.
        identity: of the backbone.
        steps: of the plan.
        parameters: of the towers; 0 where nothing is fine-tuned or encoded.
        folds: number of them.
    """
    count, taken = len(rows), {step.name for step in steps if step.is_taken}
    titles = count if rows.titles is not None else 0
    features = FLOAT * (pictures * identity.image_dim + (count + titles) * (identity.text_dim + 1))
    memory, store = ALL_LIBRARIES + 3 * features + FLOAT * parameters, 0.0
    if plan.KERNEL_HEAD in taken:
        known = np.array(list(KERNEL_MEMORY))
        memory += float(np.interp(count, known, list(KERNEL_MEMORY.values())))
        store += (
            folds + 2
        ) * features  # each fold's head keeps its rows; one more for all rows, and the registered one
    if plan.FINE_TUNING in taken:
        memory += FLOAT * parameters * (TRAINED_COPIES - 1 + ROW_ACTIVATIONS * 32)
        store += FLOAT * parameters * 2 * folds
    return Needs(memory, features, store)


def needs_of_batch(rows: int, weights: int, workers: int) -> Needs:
    """What `batch` takes: each worker holds the model.

    Args:
        rows: of the table.
        weights: bytes of the model's.
        workers: that run at a time.
    """
    return Needs(SPARK + workers * (LIBRARIES + weights), 0.0, rows * RESULT_BYTES)
