"""List what lies in the cache folder, or clear it.

    python -m entrypoints.cache
    python -m entrypoints.cache --clear features --unused-days 30

The folder is MMCLF_CACHE_DIR, else mmclf in XDG_CACHE_HOME or ~/.cache. All of it can be deleted at any time: it is
computed again when it is needed.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from mmclf.errors import ConfigError

from .common import run

DEFAULTS = {"clear": "", "unused_days": ""}


def cache(options: argparse.Namespace) -> dict[str, Any]:
    """List the cache, or clear what was asked for; returns the figures."""
    days = options.unused_days
    if days and not options.clear:
        raise ConfigError("--unused-days: goes with --clear, for example --clear all --unused-days 30")
    if days and not days.isdecimal():
        raise ConfigError(f"--unused-days: found {days!r}; give a number of days")
    from mmclf.workflows.cache import clear_cache, list_cache

    return clear_cache(options.clear, unused_days=int(days) if days else None) if options.clear else list_cache()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(
        cache,
        "List the cache of features (MMCLF_CACHE_DIR, else ~/.cache/mmclf), or clear it.",
        DEFAULTS,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
