"""What lies in the cache, for people: its spaces listed, or cleared."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from .cache import BACKBONES, DESCRIPTION, FEATURES, UNFINISHED, Cache
from .vectors import stored_rows

KINDS = (FEATURES, BACKBONES, UNFINISHED)
DAY = 24 * 3600


@dataclass
class Space:
    """The files of the cache that belong together.

    Attributes:
        kind: one of KINDS.
        folder: that they lie in.
        entries: features, pictures or backbones.
        size: bytes.
        used: time of the last use, in seconds since 1970.
    """

    kind: str
    folder: Path
    entries: int = 0
    size: int = 0
    used: float = 0.0

    def describe(self) -> str:
        """What it holds, in words."""
        if self.kind != FEATURES:
            known = "what is known of them without loading"
            return known if self.kind == BACKBONES else f"state of run {self.folder.name}, which may go on"
        try:
            found = json.loads((self.folder / DESCRIPTION).read_text(encoding="utf-8"))
            where = f"{found['transform']['img_size']} pixels" if "transform" in found else f"{found['max_len']} tokens"
            return f"of {found['kind']}, {where}, {found['precision']}: {found['note']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "without a description"


def list_spaces(cache: Cache) -> list[Space]:
    """What lies in the cache, what was used last first; other files in the folder don't count."""
    found: dict[Path, Space] = {}
    for entry in cache.entries():
        parts = entry.path.relative_to(cache.root).parts
        if parts[0] not in KINDS:
            continue
        place = cache.root.joinpath(*parts[: 1 if parts[0] == BACKBONES else 2])
        space = found.setdefault(place, Space(parts[0], place))
        space.size += entry.size
        if entry.path.name == DESCRIPTION or entry.path.name.startswith("."):
            continue
        space.used = max(space.used, entry.used)
        space.entries += stored_rows(entry.path) if parts[0] == FEATURES else 1
    return sorted(found.values(), key=lambda space: -space.used)


def clear(cache: Cache, what: str, unused_days: int | None) -> tuple[int, int]:
    """Delete files of a kind, or of `all`.

    Args:
        cache: the cache.
        what: "all" or one of KINDS.
        unused_days: only what wasn't used for so many days; None for everything.

    Returns:
        Number and bytes of the deleted files.
    """
    before = float("inf") if unused_days is None else time.time() - unused_days * DAY
    files = size = 0
    for entry in list(cache.entries()):
        kind = entry.path.relative_to(cache.root).parts[0]
        if kind in KINDS and what in ("all", kind) and entry.used < before:
            entry.path.unlink(missing_ok=True)
            files, size = files + 1, size + entry.size
    return files, size
