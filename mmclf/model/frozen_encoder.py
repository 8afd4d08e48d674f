"""Features of frozen towers: the one road from pictures and texts to vectors, for training and for scoring.

A feature is found again by what it was computed from: the towers (weights, activation, img_size, precision), the
transform, the content of the picture file and the seed of its crop, or the text. So another head, another split or
another table with the same products computes nothing. How it comes to the same bits each time: tower_runner.py.
"""

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..config import DataConfig
from ..data.pixel_spool import PixelSpool
from ..data.rows import Rows
from ..data.text import Tokens
from ..data.views import EVAL
from ..runtime.device import Precision
from ..store.cache import Cache
from .head_inputs import PictureFeatures
from .picture_encoder import PictureEncoder
from .text_encoder import TextEncoder
from .tower_runner import TowerRunner
from .towers import Towers

SAMPLE = 64  # rows that tell how much is missing


class Encoder:
    """Frozen towers applied to rows; what the cache holds isn't computed, and the towers not loaded for it.

    Attributes:
        unreadable: a sentence for each picture that couldn't be decoded, by its name.
        truncated: number of rows of the last `texts` whose text didn't fit.
        is_cut: bool (rows,), which they are.
        has_picture: bool (rows,), which rows of the last `images` have a picture that could be decoded.
        ledger: what was computed and how long it took.
    """

    def __init__(
        self,
        towers: Towers,
        data: DataConfig,
        *,
        precision: Precision,
        device: torch.device,
        cache: Cache | None,
        seed: int = 0,
        sizes: Sequence[int] = (),
        max_batch: int | None = None,
        compiled: bool = False,
        quiet: bool = False,
        pause: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """
        Args:
            towers: in eval mode.
            data: how pictures and texts are read.
            precision: of the towers.
            device: they are moved to.
            cache: where features are kept; None keeps none, for towers that no name stands for.
            seed: of the crops.
            sizes: other sizes that the same pictures are decoded for.
            max_batch: pictures or texts at a time, at most, where none are kept; else what the device is fastest with.
            compiled: run the towers through torch.compile.
            quiet: no progress bars.
            pause: entered while the next batch is made, when others may use the towers; what it raises ends the work.
        """
        runner = TowerRunner(
            towers,
            precision=precision,
            device=device,
            cache=cache,
            max_batch=max_batch,
            compiled=compiled,
            quiet=quiet,
            pause=pause,
        )
        self._pictures = PictureEncoder(runner, data, seed=seed, sizes=sizes)
        self._texts = TextEncoder(runner, data.max_len)
        self._identity = runner.spec.identity
        self.unreadable = self._pictures.unreadable
        self.truncated = 0
        self.is_cut = np.empty(0, dtype=bool)
        self.has_picture = np.empty(0, dtype=bool)
        self.ledger = runner.ledger

    def images(
        self,
        rows: Rows,
        epoch: int = EVAL,
        *,
        flips: Sequence[bool] = (False,),
        spool: PixelSpool | None = None,
        details: bool = False,
    ) -> list[np.ndarray]:
        """Image features of each row: the mean over its pictures; black where it has none that can be decoded.

        Args:
            rows: the products.
            epoch: of the random crops; EVAL for the eval view.
            flips: False for the picture, True for its mirror image.
            spool: where eval views that were decoded at this size lie, and where those wanted later are put.
            details: those of the image tower's last layers too, where it tells them, and the outlines.

        Returns:
            float32 (rows, image_dim) for each of `flips`; with details wider, see `parted`.

        Raises:
            PictureError: an unreadable picture, with `data.on_bad_image: error`.
            BackboneError: the towers are needed and can't be loaded.
        """
        features, self.has_picture = self._pictures.features(rows, epoch, flips, spool, details=details)
        return features

    def parted(self, features: np.ndarray) -> PictureFeatures:
        """Picture features of `images`, taken apart."""
        return PictureFeatures.of(features, self._identity)

    def texts(self, rows: Rows, *, memo: dict[tuple[str, int], Tokens] | None = None) -> np.ndarray:
        """Text features of each row, float32 (rows, text_dim).

        Args:
            rows: the products.
            memo: keeps tokens for other towers that read the same rows by the same tokenizer.

        Raises:
            BackboneError: the towers are needed and can't be loaded.
        """
        features, self.is_cut = self._texts.features(rows.texts, memo)
        self.truncated = int(self.is_cut.sum())
        return features

    def titles(self, rows: Rows) -> np.ndarray | None:
        """Features float32 (rows, text_dim) of the first text fields; None where there is only one. Errors: `texts`."""
        return None if rows.titles is None else self._texts.features(rows.titles)[0]

    def missing(
        self, rows: Rows, epochs: Sequence[int] = (EVAL,), flips: Sequence[bool] = (False,), *, details: bool = False
    ) -> list[float]:
        """Which share of the views of each epoch isn't kept, in [0, 1], by a sample of the rows; nothing is decoded.

        Args:
            rows: the products.
            epochs: of the views.
            flips: see `images`, as of `details`.
            details: count a view as kept only with its details.
        """
        if not len(rows):
            return [1.0] * len(epochs)
        drawn = rows.take(_sample(len(rows)))
        return [self._pictures.missing_share(drawn, epoch, flips, details=details) for epoch in epochs]

    def missing_texts(self, texts: Sequence[str]) -> float:
        """Which share of texts isn't kept, in [0, 1], by a sample."""
        return self._texts.missing_share([texts[n] for n in _sample(len(texts))]) if texts else 1.0

    def picture_kind(self, flips: int = 1) -> str:
        """What pictures have a speed in common with; see speed_kinds.py."""
        return self._pictures.kind(flips)

    @property
    def text_kind(self) -> str:
        """What texts have a speed in common with."""
        return self._texts.kind


def _sample(count: int) -> np.ndarray:
    """int64 (n <= SAMPLE,): some of the positions below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, SAMPLE).astype(int))
