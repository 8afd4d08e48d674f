"""The pictures of a catalogue as views; each file is decoded and resized once.

What the random crops are cut from (`Transform.enlarge`) and the eval views are kept in the cache as raw pixels, under
the digest of the file's content. So a second epoch, fold, run or process decodes nothing, and identical files are kept
once.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..store.cache import PICTURES, Cache
from .images import TRAIN_MARGIN, Transform, decode_picture, read_file
from .views import View

HEADER = struct.Struct("<4sHHI")  # magic, width, height, CRC-32 of the pixels
MAGIC = b"MMP1"
MAX_BYTES = 4 * 2**20  # of a very elongated picture, which isn't worth its room


class Pictures:
    """Views of pictures, the files of a folder or contents in memory."""

    def __init__(
        self,
        source: Path | Mapping[str, bytes],
        transform: Transform,
        *,
        cache: Cache | None = None,
        draft: int | None = None,
    ) -> None:
        """
        Args:
            source: the folder, or the contents of the pictures by name.
            transform: of the backbone.
            cache: where decoded pictures are kept; None keeps nothing, for a single pass.
            draft: a side in pixels; large JPEGs are decoded at a fraction of their size (see `decode_picture`).
        """
        self._source = source
        self._transform = transform
        self._cache = cache if cache is not None and cache.limit else None
        self._draft = draft
        self._digests: dict[str, str] = {}
        self._last: dict[str, Image.Image] = {}  # the picture that was decoded last

    def at_other_sizes(self, transforms: Sequence[Transform]) -> list["Pictures"]:
        """The same pictures through other transforms: what one of them decodes, the next ones needn't."""
        others = []
        for transform in transforms:
            other = Pictures(self._source, transform, draft=self._draft)
            other._last = self._last
            others.append(other)
        return others

    def view(self, view: View) -> torch.Tensor:
        """uint8 (3, img_size, img_size).

        Raises:
            PictureError: the picture can't be read.
        """
        size = self._transform.img_size
        if view.seed is None:
            centre = self._kept(view.name, f"eval-{size}", self._eval_picture)
            return torch.from_numpy(np.array(centre)).permute(2, 0, 1)
        enlarged = self._kept(view.name, f"enlarged-{size + TRAIN_MARGIN}", self._transform.enlarge)
        return self._transform.random_view(enlarged, view.seed)

    def placeholder(self) -> torch.Tensor:
        """uint8 (3, img_size, img_size), where a row has no picture."""
        return self._transform.placeholder()

    def digest(self, name: str) -> str:
        """First 32 hex digits of the SHA-256 of the file.

        Raises:
            PictureError: the file can't be read.
        """
        if name not in self._digests:
            self._note_digest(name, self._content(name))
        return self._digests[name]

    def _content(self, name: str) -> bytes:
        return read_file(self._source / name) if isinstance(self._source, Path) else self._source[name]

    def _note_digest(self, name: str, content: bytes) -> None:
        self._digests[name] = hashlib.sha256(content).hexdigest()[:32]

    def _eval_picture(self, picture: Image.Image) -> Image.Image:
        return Image.fromarray(self._transform.eval_view(picture).permute(1, 2, 0).numpy())

    def _decode(self, name: str, content: bytes | None = None) -> Image.Image:
        if name not in self._last:
            self._last.clear()
            content = content if content is not None else self._content(name)
            self._last[name] = decode_picture(content, name, draft=self._draft)
        return self._last[name]

    def _kept(self, name: str, kind: str, make: Callable[[Image.Image], Image.Image]) -> Image.Image:
        """What `make` makes of the picture: from the cache, else made, and put there."""
        if self._cache is None:
            return make(self._decode(name))
        space = f"{kind}-{self._transform.interpolation}{f'-draft-{self._draft}' if self._draft else ''}"
        content = None
        if name not in self._digests:
            content = self._content(name)
            self._note_digest(name, content)
        digest = self._digests[name]
        path = self._cache.root / PICTURES / space / digest[:2] / digest[2:]
        made = _read(path)
        if made is not None:
            self._cache.touch(path)
            return made
        made = make(self._decode(name, content))
        pixels = made.tobytes()
        size = HEADER.size + len(pixels)
        if size <= MAX_BYTES:
            content = HEADER.pack(MAGIC, *made.size, zlib.crc32(pixels)) + pixels
            self._cache.put(path, size, partial(_write, content))
        return made


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _read(path: Path) -> Image.Image | None:
    """A picture that was kept; None where there is none, or a damaged one."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < HEADER.size:
        return None
    magic, width, height, checksum = HEADER.unpack_from(content)
    pixels = memoryview(content)[HEADER.size :]
    if magic != MAGIC or len(pixels) != 3 * width * height or zlib.crc32(pixels) != checksum:
        return None
    return Image.fromarray(np.frombuffer(pixels, dtype=np.uint8).reshape(height, width, 3))
