"""Vectors kept in the cache under keys: a folder of files that are written once, whole, and never changed.

So any number of processes read and write it without locks; at worst two of them compute the same. A file holds
`keys` uint8 (n, 16), `values` float32 (n, d) and `checksums` uint32 (n,), the CRC-32 of each row: a damaged row counts
as missing.
"""

import contextlib
import json
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .cache import DESCRIPTION, FEATURES, Cache

KEY_BYTES = 16
# a file is written after this many rows or seconds: what an interrupt may lose
FLUSH_ROWS, FLUSH_SECONDS = 4096, 30.0


def make_key(*parts: str) -> bytes:
    """16 bytes that are a function of the parts."""
    return sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


class VectorStore:
    """Vectors of one width, for everything that `description` says they depend on."""

    def __init__(self, cache: Cache, description: Mapping[str, object], width: int, *, note: str = "") -> None:
        """
        Args:
            cache: that it lies in.
            description: all that the vectors depend on besides their keys; JSON values.
            width: d of each vector.
            note: for people who list the cache; no part of what the vectors are found by.
        """
        self._description = dict(description) | {"width": width}
        self._note = note
        self._cache = cache
        self._width = width
        self.folder = cache.root / FEATURES / make_key(json.dumps(self._description, sort_keys=True)).hex()
        self._pending: list[tuple[bytes, np.ndarray]] = []
        self._flushed = time.monotonic()

    def get(self, keys: Sequence[bytes], out: np.ndarray) -> np.ndarray:
        """Fill in what is there.

        Args:
            keys: unique.
            out: float32 (len(keys), d); rows that aren't there stay as they are.

        Returns:
            bool (len(keys),): which rows were there.
        """
        found = np.zeros(len(keys), dtype=bool)
        position = {key: i for i, key in enumerate(keys)}
        for path in sorted(self.folder.glob("[!.]*.safetensors")):
            if found.all():
                break
            try:
                used = self._read(path, position, found, out)
            except (OSError, SafetensorError, KeyError, ValueError):
                with contextlib.suppress(OSError):  # a cache that can only be read
                    path.unlink(missing_ok=True)  # cut short or overwritten; what was in it is computed again
                continue
            if used:
                self._cache.touch(path)
        return found

    def has(self, keys: Sequence[bytes]) -> np.ndarray:
        """Bool (len(keys),): which are there, without reading any vector."""
        wanted, found = set(keys), set()
        for path in self.folder.glob("[!.]*.safetensors"):
            with contextlib.suppress(OSError, SafetensorError, KeyError), safe_open(path, framework="numpy") as file:
                flat = file.get_tensor("keys").tobytes()
                found |= wanted.intersection(flat[i : i + KEY_BYTES] for i in range(0, len(flat), KEY_BYTES))
        return np.array([key in found for key in keys], dtype=bool)

    def put(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        """Keep some vectors, float32 (len(keys), d); they may be written later, at the latest by `flush`."""
        self._pending.extend(zip(keys, values, strict=True))
        if len(self._pending) >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was put."""
        pending, self._pending = self._pending, []
        self._flushed = time.monotonic()
        if not pending:
            return
        values = np.stack([value for _, value in pending]).astype(np.float32)
        arrays: dict[str, np.ndarray] = {
            "keys": np.frombuffer(b"".join(key for key, _ in pending), dtype=np.uint8).reshape(-1, KEY_BYTES),
            "values": values,
            "checksums": np.array([zlib.crc32(value) for value in values], dtype=np.uint32),
        }
        size = len(pending) * (4 * self._width + KEY_BYTES + 4) + 1024
        text = json.dumps(self._description | {"note": self._note}, indent=2) + "\n"
        description = self.folder / DESCRIPTION
        if description.exists() or self._cache.put_text(description, text):
            name = f"{uuid.uuid4().hex}.safetensors"
            self._cache.put(self.folder / name, size, lambda draft: save_file(arrays, draft))

    def _read(self, path: Path, position: dict[bytes, int], found: np.ndarray, out: np.ndarray) -> bool:
        """Copy the wanted rows of a file; says whether there was one."""
        with safe_open(path, framework="numpy") as file:
            flat = file.get_tensor("keys").tobytes()
            here = [position.get(flat[i : i + KEY_BYTES]) for i in range(0, len(flat), KEY_BYTES)]
            wanted = [(row, place) for row, place in enumerate(here) if place is not None and not found[place]]
            if not wanted:
                return False
            values, checksums = file.get_tensor("values"), file.get_tensor("checksums")
            if values.shape != (len(here), self._width) or checksums.shape != (len(here),):
                raise ValueError("not a file of this store")
            for row, place in wanted:
                if zlib.crc32(values[row]) == checksums[row]:
                    out[place] = values[row]
                    found[place] = True
        return True


def stored_rows(path: Path) -> int:
    """Number of vectors in a file; 0 for a damaged one."""
    try:
        with safe_open(path, framework="numpy") as file:
            return int(file.get_slice("keys").get_shape()[0])
    except (OSError, SafetensorError, KeyError):
        return 0
