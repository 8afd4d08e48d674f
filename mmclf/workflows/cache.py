"""List what lies in the cache folder, or clear it. No run is recorded of that."""

import time
from typing import Any

from ..errors import ConfigError
from ..runtime.progress import say
from ..store.cache import open_cache
from ..store.listing import DAY, KINDS, clear, list_spaces
from ..store.space import show_size


def list_cache() -> dict[str, Any]:
    """Say what lies in the cache.

    Returns:
        `folder`, `bytes`, `limit` in bytes, and the number of `entries`.

    Raises:
        ConfigError: MMCLF_CACHE_GIB is not a number.
    """
    cache = open_cache()
    spaces = list_spaces(cache)
    total = sum(space.size for space in spaces)
    say(f"{cache.root}: {show_size(total)} of at most {show_size(cache.limit)} (MMCLF_CACHE_GIB)")
    for space in spaces:
        days = (time.time() - space.used) / DAY
        when = "today" if days < 1 else f"{days:.0f} days ago"
        say(
            f"  {space.kind:9} {space.entries:>9,} entries  {show_size(space.size):>9}  used {when:11}  "
            f"{space.describe()}"
        )
    entries = sum(space.entries for space in spaces)
    return {"folder": str(cache.root), "bytes": total, "limit": cache.limit, "entries": entries}


def clear_cache(what: str, *, unused_days: int | None = None) -> dict[str, Any]:
    """Delete what may be computed again.

    Args:
        what: `all`, `features` or `backbones`.
        unused_days: only what wasn't used for so many days; None for everything.

    Returns:
        `folder`, `deleted_files` and `deleted_bytes`.

    Raises:
        ConfigError: no such kind, or MMCLF_CACHE_GIB is not a number.
    """
    if what not in ("all", *KINDS):
        raise ConfigError(f"--clear: found {what!r}; give all, {', '.join(KINDS)}")
    cache = open_cache()
    files, size = clear(cache, what, unused_days)
    say(f"{cache.root}: deleted {files:,} files, {show_size(size)}")
    return {"folder": str(cache.root), "deleted_files": files, "deleted_bytes": size}
