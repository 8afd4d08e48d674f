"""Features of tables that the cache has already, without loading any towers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..config import Config
from ..data.rows import Rows
from ..model.frozen_encoder import Encoder
from ..model.identity import BackboneSpec, recall
from ..runtime.device import pick_device, pick_precision
from ..store.cache import open_cache


class _NotStoredError(Exception):
    """A feature would have to be computed."""


class _Stored:
    """Towers that are known and never loaded."""

    def __init__(self, spec: BackboneSpec) -> None:
        self._spec = spec

    @property
    def spec(self) -> BackboneSpec:
        """What the cache knows of them."""
        return self._spec

    def load(self) -> Any:
        """Raises _NotStoredError."""
        raise _NotStoredError


def stored_features(config: Config, tables: Sequence[Rows]) -> list[np.ndarray] | None:
    """float32 (rows, width) of each table, pictures beside texts; None where the cache lacks any.

    Args:
        config: whose backbone, `data` and precision they were computed with.
        tables: read under it.
    """
    cache, device = open_cache(), pick_device()
    spec = recall(cache, config.model.name, config.model.pretrained, config.data.img_size)
    if spec is None:
        return None
    precision = pick_precision(device, config.train.amp)
    encoder = Encoder(_Stored(spec), config.data, precision=precision, device=device, cache=cache, quiet=True)
    try:
        return [np.concatenate([encoder.texts(rows), encoder.images(rows)[0]], axis=1) for rows in tables]
    except _NotStoredError:
        return None
