"""The pictures of rows as views, decoded from files or from contents in memory.

Decoded pictures aren't kept between epochs: reading their pixels back took as long as decoding them again (lab log,
2026-11-25).
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from ..config import MAX_MEGAPIXELS
from .decoding import decode_picture, read_file
from .images import Transform
from .views import View


class Pictures:
    """Views of pictures, the files of a folder or contents in memory."""

    def __init__(
        self,
        source: Path | Mapping[str, bytes],
        transform: Transform,
        *,
        draft: int | None = None,
        max_megapixels: int = MAX_MEGAPIXELS,
    ) -> None:
        """
        Args:
            source: the folder, or the contents of the pictures by name.
            transform: of the backbone.
            draft: a side in pixels; large JPEGs are decoded at a fraction of their size (see `decode_picture`).
            max_megapixels: that a picture may have in memory.
        """
        self._source = source
        self._transform = transform
        self._draft = draft
        self._max_megapixels = max_megapixels
        self._last: dict[str, Image.Image] = {}  # the picture that was decoded last

    def at_other_sizes(self, transforms: Sequence[Transform]) -> list["Pictures"]:
        """The same pictures through other transforms: what one of them decodes, the next ones needn't."""
        others = []
        for transform in transforms:
            other = copy.copy(self)
            other._transform = transform
            others.append(other)
        return others

    def view(self, view: View) -> torch.Tensor:
        """uint8 (3, img_size, img_size).

        Raises:
            PictureError: the picture can't be read.
        """
        picture = self._decode(view.name)
        if view.seed is None:
            return self._transform.eval_view(picture)
        return self._transform.random_view(self._transform.enlarge(picture), view.seed)

    def placeholder(self) -> torch.Tensor:
        """uint8 (3, img_size, img_size), where a row has no picture."""
        return self._transform.placeholder()

    def digest(self, name: str) -> str:
        """First 32 hex digits of the SHA-256 of the file.

        Raises:
            PictureError: the file can't be read.
        """
        return hashlib.sha256(self._content(name)).hexdigest()[:32]

    def _content(self, name: str) -> bytes:
        return read_file(self._source / name) if isinstance(self._source, Path) else self._source[name]

    def _decode(self, name: str) -> Image.Image:
        if name not in self._last:
            self._last.clear()
            self._last[name] = decode_picture(
                self._content(name), name, draft=self._draft, max_megapixels=self._max_megapixels
            )
        return self._last[name]
