"""Eval views of a chunk of rows on the disk, for models that look at the same pictures one after another."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO

import torch

from .images import Transform


@dataclass
class _Spool:
    """The pictures at one size, in a file without a name."""

    file: IO[bytes]
    places: dict[str, int] = field(default_factory=dict)  # in the file, by picture


class PixelSpool:
    """Views of a chunk's pictures at several sizes: a picture is decoded once, and its pixels are read again."""

    def __init__(self, transforms: Iterable[Transform]) -> None:
        """`transforms` of the models that come after the first."""
        kinds = {_kind(transform): transform for transform in transforms}
        self._transforms = list(kinds.values())
        self._spools = {kind: _Spool(tempfile.TemporaryFile(prefix="mmclf-")) for kind in kinds}  # noqa: SIM115

    def others(self, transform: Transform) -> list[Transform]:
        """Those whose views are wanted later and differ from this one's."""
        return [other for other in self._transforms if _kind(other) != _kind(transform)]

    def put(self, transform: Transform, name: str, image: torch.Tensor) -> None:
        """Keep the eval view of a picture, uint8 (3, size, size), where it is wanted later."""
        spool = self._spools.get(_kind(transform))
        if spool is not None and name not in spool.places:
            spool.places[name] = spool.file.seek(0, 2)
            spool.file.write(image.contiguous().numpy().data)

    def has(self, transform: Transform, name: str) -> bool:
        """Whether the view of a picture is here."""
        spool = self._spools.get(_kind(transform))
        return spool is not None and name in spool.places

    def get(self, transform: Transform, name: str) -> torch.Tensor:
        """The view of a picture that is here, uint8 (3, size, size)."""
        spool, size = self._spools[_kind(transform)], transform.img_size
        spool.file.seek(spool.places[name])
        pixels = bytearray(spool.file.read(3 * size * size))
        return torch.frombuffer(pixels, dtype=torch.uint8).view(3, size, size)

    def __enter__(self) -> "PixelSpool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for spool in self._spools.values():
            spool.file.close()


def _kind(transform: Transform) -> tuple[int, str]:
    """What decides the pixels of an eval view; mean and std are applied later."""
    return transform.img_size, transform.interpolation
