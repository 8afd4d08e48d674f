"""What scoring with a model costs on this machine: a few drawn rows, timed."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..config import Config
from ..data.rows import Rows
from ..model.checkpoint import WEIGHTS, Checkpoint
from ..runtime.device import allow_tf32, pick_device, pick_precision
from ..runtime.speed import Stopwatch
from .fold_models import FoldModels
from .mixture import Mixture
from .predict import Scoring

ROWS = 32
SIDE = 500  # of the drawn pictures, in pixels
WORDS = 16  # of the drawn texts


@dataclass(frozen=True)
class Cost:
    """Of a model: bytes of its weights, and seconds for a row with one picture and a short text."""

    size: int
    seconds_a_row: float


class CostMeter:
    """Times models; those that compute the same are timed once."""

    def __init__(self) -> None:
        self._device = pick_device()
        allow_tf32(self._device)
        self._rows = _draw_rows()
        self._known: dict[tuple[object, ...], tuple[float, int]] = {}

    def cost(self, mixture: Mixture) -> Cost:
        """The cost of scoring with all its experts.

        Raises:
            BackboneError, CheckpointError: a model can't be loaded.
        """
        members, config, checkpoints = mixture.members(), mixture.config, mixture.checkpoints
        precision = pick_precision(self._device, config.train.amp)
        size = sum(map(_size, checkpoints))
        seconds, frozen = 0.0, 0
        for chosen in FoldModels(members, device=self._device, precision=precision).passes:
            meta = chosen.members[0].checkpoint.meta
            infer = config.infer
            towers = (meta.backbone.name, meta.backbone.pretrained, chosen.img_size, chosen.max_len, precision.name)
            heads = [(m.checkpoint.meta.config.model.head, _size(m.checkpoint)) for m in chosen.members]
            key = (*towers, *heads, infer.tta, infer.batch_size)
            if key not in self._known:
                models = FoldModels(chosen.members, device=self._device, precision=precision)
                self._known[key] = self._time(models, config)
            seconds += self._known[key][0]
            if not chosen.members[0].checkpoint.has_towers:
                frozen = self._known[key][1]
        return Cost(size + frozen, seconds)

    def _time(self, models: FoldModels, config: Config) -> tuple[float, int]:
        """Seconds a row of one pass, and the bytes of its towers."""
        data = config.data.model_copy(update={"num_workers": 0})
        for _ in range(2):  # the first time loads the model
            scoring = Scoring(self._rows, models, data, config.infer, quiet=True)
            watch = Stopwatch()
            for _ in scoring:
                pass
        towers = models.backbone(0).state_dict().values()
        return watch.seconds / len(self._rows), sum(tensor.nbytes for tensor in towers)


def _size(checkpoint: Checkpoint) -> int:
    """Bytes of its weights."""
    return (checkpoint.folder / WEIGHTS).stat().st_size


def _draw_rows() -> Rows:
    rng = np.random.default_rng(0)
    contents = {}
    for row in range(ROWS):
        coarse = rng.integers(0, 256, (SIDE // 10, SIDE // 10, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((SIDE, SIDE)).save(file, "JPEG")
        contents[f"{row}.jpg"] = file.getvalue()
    return Rows(
        ids=[str(row) for row in range(ROWS)],
        texts=[" ".join(["product"] * WORDS)] * ROWS,
        pictures=[(name,) for name in contents],
        picture_source=contents,
    )
