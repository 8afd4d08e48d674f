"""List what lies in the cache folder, or clear it.

    python -m entrypoints.cache
    python -m entrypoints.cache --clear pictures --unused-days 30

The folder is MMCLF_CACHE_DIR, else mmclf in XDG_CACHE_HOME or ~/.cache. All of it can be deleted at any time: it is
computed again when it is needed.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmclf.errors import ConfigError
from mmclf.runtime.progress import say
from mmclf.store.cache import BACKBONES, DESCRIPTION, FEATURES, GIB, PICTURES, Cache, open_cache
from mmclf.store.vectors import stored_rows

from .common import run

DEFAULTS = {"clear": "", "unused_days": ""}
KINDS = (FEATURES, PICTURES, BACKBONES)
DAY = 24 * 3600


@dataclass
class Space:
    """The files of the cache that belong together."""

    kind: str
    folder: Path
    entries: int = 0
    size: int = 0
    used: float = 0.0


def cache(options: argparse.Namespace) -> dict[str, Any]:
    """List the cache, or clear what was asked for; returns the figures."""
    folder = open_cache()
    if options.clear:
        return _clear(folder, options.clear, options.unused_days)
    if options.unused_days:
        raise ConfigError("--unused-days: goes with --clear, for example --clear all --unused-days 30")
    spaces = _spaces(folder)
    total = sum(space.size for space in spaces)
    say(f"{folder.root}: {_size(total)} of at most {_size(folder.limit)} (MMCLF_CACHE_GIB)")
    for space in sorted(spaces, key=lambda space: -space.used):
        days = (time.time() - space.used) / DAY
        when = "today" if days < 1 else f"{days:.0f} days ago"
        say(f"  {space.kind:9} {space.entries:>9,} entries  {_size(space.size):>9}  used {when:11}  {_describe(space)}")
    return {
        "folder": str(folder.root),
        "bytes": total,
        "limit": folder.limit,
        "entries": sum(s.entries for s in spaces),
    }


def _spaces(folder: Cache) -> list[Space]:
    found: dict[Path, Space] = {}
    for entry in folder.entries():
        parts = entry.path.relative_to(folder.root).parts
        if parts[0] not in KINDS:
            continue
        place = folder.root.joinpath(*parts[: 1 if parts[0] == BACKBONES else 2])
        space = found.setdefault(place, Space(parts[0], place))
        space.size += entry.size
        if entry.path.name == DESCRIPTION or entry.path.name.startswith("."):
            continue
        space.used = max(space.used, entry.used)
        space.entries += stored_rows(entry.path) if parts[0] == FEATURES else 1
    return list(found.values())


def _describe(space: Space) -> str:
    """What a space holds, in words."""
    if space.kind != FEATURES:
        return "what is known of them without loading" if space.kind == BACKBONES else space.folder.name
    try:
        found = json.loads((space.folder / DESCRIPTION).read_text(encoding="utf-8"))
        where = f"{found['transform']['img_size']} pixels" if "transform" in found else f"{found['max_len']} tokens"
        return f"of {found['kind']}, {where}, {found['precision']}: {found['note']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "without a description"


def _clear(folder: Cache, what: str, days: str) -> dict[str, Any]:
    if what not in ("all", *KINDS):
        raise ConfigError(f"--clear: found {what!r}; give all, {', '.join(KINDS)}")
    if days and not days.isdecimal():
        raise ConfigError(f"--unused-days: found {days!r}; give a number of days")
    before = time.time() - int(days) * DAY if days else float("inf")
    files = size = 0
    for entry in list(folder.entries()):
        kind = entry.path.relative_to(folder.root).parts[0]
        if kind in KINDS and what in ("all", kind) and entry.used < before:
            entry.path.unlink(missing_ok=True)
            files, size = files + 1, size + entry.size
    say(f"{folder.root}: deleted {files:,} files, {_size(size)}")
    return {"folder": str(folder.root), "deleted_files": files, "deleted_bytes": size}


def _size(count: float) -> str:
    if count >= GIB:
        return f"{count / GIB:.1f} GiB"
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 1024:.0f} KiB"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(
        cache,
        "List the cache of features and pictures (MMCLF_CACHE_DIR, else ~/.cache/mmclf), or clear it.",
        DEFAULTS,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
