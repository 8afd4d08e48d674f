"""Models applied to a catalogue: for `infer`, and for `Model.evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.rows import Rows
from ..model.checkpoint import CheckpointMeta
from ..records.sources import Source
from ..runtime.device import Precision, allow_tf32, pick_device, pick_precision
from ..scoring.fold_models import FoldModels, members_of
from ..scoring.predict import Scoring
from ..store.cache import open_cache


@dataclass(frozen=True)
class Scorer:
    """What `score_with` gives.

    Attributes:
        scoring: to be iterated once.
        meta: of a checkpoint: classes, names of the columns.
        img_sizes: of the pictures, in pixels.
        device, precision: that the models run on and in.
    """

    scoring: Scoring
    meta: CheckpointMeta
    img_sizes: list[int]
    device: torch.device
    precision: Precision


def score_with(sources: Sequence[Source], rows: Rows) -> Scorer:
    """The scoring of rows by all sources averaged, each counting the same; weights are read when it is iterated.

    Raises:
        CheckpointError: models with different classes.
    """
    config = sources[0].config
    share = 1 / len(sources)
    members = [m for s in sources for m in members_of(s.checkpoints, s.config.data, s.config.infer, share)]
    device = pick_device()
    allow_tf32(device)
    precision = pick_precision(device, config.train.amp)
    models = FoldModels(members, device=device, precision=precision, cache=open_cache())
    sizes = list(dict.fromkeys(member.img_size for member in members))
    scoring = Scoring(rows, models, config.data, config.infer)
    return Scorer(scoring, sources[0].checkpoints[0].meta, sizes, device, precision)
