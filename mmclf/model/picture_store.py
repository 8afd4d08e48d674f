"""Features of pictures in the cache: those of the image tower, and in a store of their own the details."""

from collections.abc import Sequence

import numpy as np

from ..store.vectors import VectorStore
from .tower_runner import TowerRunner


class PictureStore:
    """Where features of pictures are kept; (n, image_dim), with details (n, image_dim + layers_dim + OUTLINE_DIM).

    Details are those of the last layers and the outlines, which are made in one pass.
    """

    def __init__(self, images: VectorStore, details: VectorStore, image_dim: int) -> None:
        self._images, self._details, self._image_dim = images, details, image_dim

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
        details = runner.open_store(description | {"kind": "details"}, identity.details_dim)
        return None if images is None or details is None else cls(images, details, identity.image_dim)

    def get(self, keys: Sequence[bytes], out: np.ndarray) -> np.ndarray:
        """Fill in what is there; see `VectorStore.get`. With details, what lacks either isn't there."""
        images, details = _parted(out, self._image_dim)
        is_there = self._images.get(keys, images)
        return is_there & self._details.get(keys, details) if details.shape[1] else is_there

    def put(self, keys: Sequence[bytes], features: np.ndarray) -> None:
        """Keep some features; see `VectorStore.put`."""
        images, details = _parted(features, self._image_dim)
        self._images.put(keys, images)
        if details.shape[1]:
            self._details.put(keys, details)

    def share(self, keys: Sequence[bytes], *, details: bool) -> float:
        """Which share is there, in [0, 1]; with details that of those of which there are fewer."""
        stores = [self._images, self._details] if details else [self._images]
        return min(float(store.has(keys).mean()) for store in stores)

    def flush(self) -> None:
        """Write what was put."""
        self._images.flush()
        self._details.flush()


def _parted(features: np.ndarray, image_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of pictures as (n, image_dim), and the details, 0 wide without them."""
    return features[:, :image_dim], features[:, image_dim:]
