"""Models applied to a catalogue: for `infer`, and for `Model.evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ..data.rows import Rows
from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint, CheckpointMeta
from ..model.kernels import DETAILS
from ..records.sources import Source
from ..records.vocabulary import Tag
from ..runtime.agenda import Agenda
from ..runtime.device import Precision, allow_tf32, pick_device, pick_precision
from ..runtime.machine import find_machine
from ..runtime.progress import clock, say
from ..scoring.fold_models import FoldModels, Member
from ..scoring.mixture import average
from ..scoring.predict import Scoring
from ..store.cache import GIB, Cache, open_cache

# of the cache that the features of one table may take; those of training are worth more
SHARE = 0.5


@dataclass(frozen=True)
class Scorer:
    """What `score_with` gives.

    Attributes:
        scoring: to be iterated once.
        classes: labels in the order of the probabilities.
        meta: of a checkpoint: names of the columns.
        img_sizes: of the pictures, in pixels.
        device, precision: that the models run on and in.
        passes: how often the rows go through towers.
    """

    scoring: Scoring
    classes: tuple[str, ...]
    meta: CheckpointMeta
    img_sizes: list[int]
    device: torch.device
    precision: Precision
    passes: int


def score_with(sources: Sequence[Source], rows: Rows) -> Scorer:
    """The scoring of rows by all sources averaged, each counting the same; weights are read when it is iterated.

    Raises:
        CheckpointError: models with different classes.
    """
    config = sources[0].config
    mixtures = [source.mixture for source in sources]
    members: list[Member] = []
    experts = 0
    for source in sources[1:]:
        differing = sorted(set(source.mixture.classes) ^ set(mixtures[0].classes))
        if differing:
            listed = ", ".join(map(repr, differing[:5]))
            raise CheckpointError(
                f"{source.label} and {sources[0].label} know different classes ({listed}), so they can't be averaged; "
                "score with one of them, or fuse the runs by `ensemble`"
            )
    for mixture in mixtures:
        members += mixture.members(experts)
        experts += len(mixture.experts)
    device = pick_device()
    allow_tf32(device)
    precision = pick_precision(device, config.train.amp)
    models = FoldModels(
        members,
        device=device,
        precision=precision,
        cache=_cache_for(rows, members),
        combine=partial(average, mixtures),
    )
    sizes = list(dict.fromkeys(member.img_size for member in members))
    scoring = Scoring(rows, models, config.data, config.infer)
    return Scorer(scoring, models.classes, sources[0].checkpoints[0].meta, sizes, device, precision, len(models.passes))


def announce(agenda: Agenda, job: str, scorer: Scorer, rows: int) -> None:
    """Say what is going to happen, and how long it takes."""
    scorer.scoring.plan(agenda)
    left, passes = agenda.left, "1 pass" if scorer.passes == 1 else f"{scorer.passes} passes"
    time = "how long it takes is said once a batch is timed" if left is None else f"about {clock(max(left, 1))}"
    say(f"{job}: {rows:,} rows, {passes}; {find_machine()}: {time}")


def tags_of(sources: Sequence[Source], model: str, scorer: Scorer) -> dict[Tag, str]:
    """Of a run that scores: what scored, and how.

    Args:
        sources: that score together.
        model: as it was asked for; "" for the champion.
        scorer: of them.
    """
    return {
        Tag.SOURCE_RUN: ",".join(source.run_id for source in sources),
        Tag.MODEL: model or sources[0].label,
        Tag.FOLDS: ",".join(map(str, sorted({fold for source in sources for fold in source.folds}))),
        Tag.SCORED_BY: "; ".join(map(str, sources)),
        Tag.IMG_SIZE: ",".join(map(str, scorer.img_sizes)),
        Tag.PRECISION: scorer.precision.name,
        Tag.DEVICE: scorer.device.type,
    }


def _cache_for(rows: Rows, members: Sequence[Member]) -> Cache:
    """The cache; for reading alone where the features of these rows would displace those of everything else."""
    cache = open_cache()
    widths = {m.img_size: 2 * _picture_width(m.checkpoint) for m in members if not m.checkpoint.has_towers}
    text_dim = members[0].checkpoint.meta.backbone.text_dim
    needed = 4 * len(rows) * (sum(widths.values()) + text_dim) if widths else 0
    if cache.limit and needed > SHARE * cache.limit:
        say(
            f"note: the features of {len(rows):,} rows would take {needed / GIB:.1f} of the cache's "
            f"{cache.limit / GIB:.3g} GiB, so they aren't kept; MMCLF_CACHE_GIB gives it more"
        )
        return Cache(cache.root, 0)
    return cache


def _picture_width(checkpoint: Checkpoint) -> int:
    """Numbers that are kept of a view."""
    identity, model = checkpoint.meta.backbone, checkpoint.meta.config.model
    reads_details = model.head == "kernel" and DETAILS & set(model.kernels)
    return identity.image_dim + (identity.details_dim if reads_details else 0)
