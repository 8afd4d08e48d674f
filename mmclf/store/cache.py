"""The cache folder: what was computed once and may be needed again. Everything in it can be deleted at any time.

    features/<space>/     features of frozen towers; see vectors.py
    backbones/            what is known of a backbone without loading it
    unfinished/<run>/     states of trainings, from which an interrupted run goes on; they don't count as part of the
                          cache's size, and aren't what room is made of

It lies in MMCLF_CACHE_DIR, else in `mmclf` in XDG_CACHE_HOME or ~/.cache, and holds at most MMCLF_CACHE_GIB (20)
GiB. When it is full, what was used longest ago goes; what this process has used stays, and nothing is added then.
Files are written beside their place and renamed, so that processes share the folder without locks.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..runtime import environment
from ..runtime.progress import say
from .files import atomic_path

GIB = 2**30
# the folder is measured again after this share of the limit was added, since other processes add to it too
RESCAN_SHARE = 1 / 64
ABANDONED = 24 * 3600  # seconds after which a draft has no writer any more
# bytes of the disk that are left to others
RESERVE = 2 * GIB
DESCRIPTION = "space.json"
FEATURES, BACKBONES, UNFINISHED = "features", "backbones", "unfinished"


@dataclass(frozen=True)
class Entry:
    """A file of the cache: its path, size in bytes and time of last use in seconds since 1970."""

    path: Path
    size: int
    used: float


class Cache:
    """A cache folder with a limit. Nothing is made on disk before something is written."""

    def __init__(self, root: Path, limit: int) -> None:
        """`root` is the folder, `limit` the bytes that it may hold; 0 keeps nothing."""
        self.root = root
        self.limit = limit
        self._born = time.time()
        self._free: float | None = None  # bytes that may still be added before the folder is measured again
        self._full = False

    def put(self, path: Path, size: int, write: Callable[[Path], object]) -> bool:
        """Keep a file, where there is room for it; whole, or not at all.

        Args:
            path: below the root.
            size: bytes of the file, about.
            write: is given a path and writes the file there.

        Returns:
            Whether it is kept. A disk that fails is said once; nothing is kept then any more.
        """
        if not self.has_room(size):
            return False
        try:
            with atomic_path(path) as draft:
                write(draft)
        except OSError as error:
            if not self._full:
                reason = error.strerror or error
                say(f"note: can't write to the cache {self.root} ({reason}); going on without keeping results")
            self._full = True
            return False
        return True

    def put_text(self, path: Path, text: str) -> bool:
        """Keep a small text file; see `put`."""
        content = text.encode()
        return self.put(path, len(content), lambda draft: draft.write_bytes(content))

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may be written now; makes room by deleting what other runs used longest ago."""
        if self._full or size > self.limit:
            return False
        if self._free is None or size > self._free:
            self._free = self._make_room(size)
            if size > self._free:
                self._full = True
                if self.limit:
                    say(
                        f"note: the cache {self.root} is full ({self.limit / GIB:.3g} GiB) or its disk is; what is "
                        "computed from here on isn't kept. Set MMCLF_CACHE_GIB or MMCLF_CACHE_DIR for more room"
                    )
                return False
        self._free -= size
        return True

    def touch(self, path: Path) -> None:
        """Note that a file was used; to the hour, which spares most of the writes."""
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < self._born - 3600:
                os.utime(path)

    def entries(self) -> Iterator[Entry]:
        """All files, drafts included."""
        folders = [str(self.root)]
        while folders:
            with contextlib.suppress(OSError), os.scandir(folders.pop()) as found:
                for item in found:
                    with contextlib.suppress(OSError):  # another process has just deleted it
                        if item.is_dir(follow_symlinks=False):
                            folders.append(item.path)
                        else:
                            stat = item.stat(follow_symlinks=False)
                            yield Entry(Path(item.path), stat.st_size, stat.st_mtime)

    def _make_room(self, size: int) -> float:
        """Delete what is too much or abandoned; returns the bytes that may be added before the next look."""
        old, used = [], 0
        for entry in self.entries():
            if entry.path.relative_to(self.root).parts[0] == UNFINISHED:
                continue
            used += entry.size
            is_draft = entry.path.name.startswith(".")
            if is_draft and entry.used < self._born - ABANDONED:
                used -= _delete(entry)
            # `touch` notes a use to the hour only
            elif entry.used < self._born - 3600 and not is_draft and entry.path.name != DESCRIPTION:
                old.append(entry)
        if used + size > self.limit:
            old.sort(key=lambda entry: entry.used, reverse=True)
            while old and used + size > 0.9 * self.limit:
                used -= _delete(old.pop())
        room = min(self.limit - used, self._disk_room())
        step = self.limit * RESCAN_SHARE
        return room if room < size else min(room, max(step, size))

    def _disk_room(self) -> float:
        """Bytes that leave RESERVE of the disk free, or a twentieth of a small one."""
        folder = next((p for p in (self.root, *self.root.parents) if p.exists()), self.root)
        with contextlib.suppress(OSError):
            disk = shutil.disk_usage(folder)
            return disk.free - min(disk.total / 20, RESERVE)
        return float(self.limit)


def _delete(entry: Entry) -> int:
    """Delete a file; returns the bytes that are free by that, none where the folder can only be read."""
    try:
        entry.path.unlink(missing_ok=True)
    except OSError:
        return 0
    return entry.size


def open_cache() -> Cache:
    """The cache that the environment names.

    Raises:
        ConfigError: MMCLF_CACHE_GIB is not a number, or negative.
    """
    text = environment.CACHE_GIB.get()
    try:
        gib = float(text)
    except ValueError:
        gib = -1.0
    if not 0 <= gib < float("inf"):
        raise ConfigError(f"{environment.CACHE_GIB.name}: found {text!r}; give a number of GiB, 0 to keep nothing")
    return Cache(cache_folder(), int(gib * GIB))


def cache_folder() -> Path:
    """Where the cache lies."""
    named = environment.CACHE_DIR.get()
    if named:
        return Path(named).expanduser().resolve()
    return Path(environment.XDG_CACHE_HOME.get()).expanduser() / "mmclf"
