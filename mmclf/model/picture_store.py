"""Features of pictures in the cache: those of the image tower, and in a store of their own those of its last layers."""

from collections.abc import Sequence

import numpy as np

from ..store.vectors import VectorStore
from .tower_runner import TowerRunner


class PictureStore:
    """Where features of pictures are kept; (n, image_dim), or (n, image_dim + layers_dim) with the last layers."""

    def __init__(self, images: VectorStore, layers: VectorStore, image_dim: int) -> None:
        self._images, self._layers, self._image_dim = images, layers, image_dim

    @classmethod
    def of(cls, runner: TowerRunner, draft: int | None) -> "PictureStore | None":
        """The store of some towers; None where they keep nothing.

        Args:
            runner: of the towers.
            draft: see `Pictures`.
        """
        identity = runner.spec.identity
        description = {"kind": "pictures", "transform": vars(runner.spec.transform), "draft": draft}
        images = runner.open_store(description, identity.image_dim)
        layers = runner.open_store(description | {"kind": "last layers"}, identity.layers_dim)
        return None if images is None or layers is None else cls(images, layers, identity.image_dim)

    def get(self, keys: Sequence[bytes], out: np.ndarray) -> np.ndarray:
        """Fill in what is there; see `VectorStore.get`. With layers, what lacks either isn't there."""
        images, layers = parted(out, self._image_dim)
        is_there = self._images.get(keys, images)
        return is_there & self._layers.get(keys, layers) if layers.shape[1] else is_there

    def put(self, keys: Sequence[bytes], features: np.ndarray) -> None:
        """Keep some features; see `VectorStore.put`."""
        images, layers = parted(features, self._image_dim)
        self._images.put(keys, images)
        if layers.shape[1]:
            self._layers.put(keys, layers)

    def share(self, keys: Sequence[bytes], *, layers: bool) -> float:
        """Which share is there, in [0, 1]; with layers that of those of which there are fewer."""
        stores = [self._images, self._layers] if layers else [self._images]
        return min(float(store.has(keys).mean()) for store in stores)

    def flush(self) -> None:
        """Write what was put."""
        self._images.flush()
        self._layers.flush()


def parted(features: np.ndarray, image_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of pictures as (n, image_dim) and (n, layers_dim), the latter 0 wide without the last layers."""
    return features[:, :image_dim], features[:, image_dim:]
