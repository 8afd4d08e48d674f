"""Frozen towers at work: loaded when they are first needed, and given one batch at a time.

A feature is the same to the bit whatever was computed beside it. The arithmetic of a batch depends on its shape, so a
shape is a function of the row alone (see docs/adr/0014): pictures go `encoding_batch` at a time, texts of one padded
length together, and a batch that isn't full is filled up. Without a store, where a single row must be answered quickly,
a batch isn't filled up, but for one alone.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..runtime.device import Precision, encoding_batch
from ..runtime.progress import current, track
from ..runtime.speed import Ledger
from ..store.cache import Cache
from ..store.vectors import VectorStore
from .speed_kinds import towers_used
from .towers import Towers

T = TypeVar("T")
# of the way features are computed here; another number leaves the stored ones unused
VERSION = 2


class TowerRunner:
    """What the roads of pictures and of texts share; see `Encoder` for the arguments.

    Attributes:
        spec: of the towers.
        device: they are moved to.
        size: pictures in a full batch, or long texts.
        ledger: what was computed and how long it took.
    """

    def __init__(
        self,
        towers: Towers,
        *,
        precision: Precision,
        device: torch.device,
        cache: Cache | None,
        max_batch: int | None,
        compiled: bool,
        quiet: bool,
        pause: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self.spec = towers.spec
        self.device = device
        self.ledger = Ledger()
        full = encoding_batch(device)
        # what is kept is computed in one shape, whoever asks for it
        self.size = full if cache is not None or max_batch is None else min(full, max(2, max_batch))
        self._towers, self._precision, self._cache = towers, precision, cache
        self._compiled, self._quiet, self._pause = compiled, quiet, pause
        self._loaded: Any = None  # the backbone, once it was needed

    @property
    def keeps(self) -> bool:
        """Whether features are kept."""
        return self._cache is not None

    @property
    def folder(self) -> Path | None:
        """Of files that are too large for the memory; None for the system's own."""
        return self._cache.root if self._cache is not None else None

    def open_store(self, description: Mapping[str, object], width: int) -> VectorStore | None:
        """Where features are kept; None where none are.

        Args:
            description: all that they depend on besides their keys, the towers and how they run.
            width: of the features.
        """
        if self._cache is None:
            return None
        identity = self.spec.identity
        # without the backbone's name: the same weights under two names share their features
        common = {
            "version": VERSION,
            "weights_sha256": identity.weights_sha256,
            "activation": identity.activation,
            "precision": f"{self._precision.name} on {self.device.type}{', compiled' if self._compiled else ''}",
        }
        return VectorStore(self._cache, common | dict(description), width, note=identity.name)

    @property
    def towers_used(self) -> str:
        """What a speed depends on; see speed_kinds.py."""
        identity, size = self.spec.identity, self.spec.transform.img_size
        return towers_used(identity.name, identity.pretrained, size, self._precision.name, compiled=self._compiled)

    @property
    def backbone(self) -> Any:
        """The `Backbone` on the device, loaded now where it wasn't needed before.

        Raises:
            BackboneError: it can't be loaded.
        """
        if self._loaded is None:
            self._loaded = self._towers.load().to(self.device)
            if self._compiled:
                self._loaded.compile_towers()
        return self._loaded

    def run(self, encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, full: int) -> np.ndarray:
        """Features of a batch.

        Args:
            encode: a method of the backbone.
            inputs: (n, ...) on the device.
            full: how many make a full batch, at least n.

        Returns:
            float32 (n, d).
        """
        count = len(inputs)
        wanted = full if self.keeps else 2
        if count < wanted:
            inputs = torch.cat([inputs, inputs[-1:].expand(wanted - count, *inputs.shape[1:])])
        with torch.inference_mode(), self._precision.autocast(self.device):
            features = encode(inputs)
        found: np.ndarray = features.float().cpu().numpy()[:count]
        return found

    def paused(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, each made in the pause."""
        source = iter(batches)
        while True:
            with self._pause():
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def track(
        self, batches: Iterable[T], total: float, name: str, *, kind: str, units: Callable[[T], float]
    ) -> Iterator[T]:
        """The batches of a pass, as `progress.track` shows them."""
        return track(batches, total, name, kind=kind, units=units, quiet=self._quiet)

    def skip(self, kind: str) -> None:
        """A pass that was planned turns out to be in the cache."""
        if not self._quiet:
            current().begin(kind, 0)

    def settle(self, kind: str) -> None:
        """What was done with the features after the last batch belongs to the pass."""
        if not self._quiet:
            current().settle(kind)
