"""How long things took on this machine: what the next run's forecast is made of.

    speeds.json in the cache: by machine, by kind of work: seconds a unit

Two processes that end at the same time may lose what one of them measured, which the next one measures again.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from .cache import Cache

NAME = "speeds.json"
MOST = 500  # kinds that are kept of a machine; the oldest go
# of a new measurement against what was known: machines are busier at one time than at another
NEW_SHARE = 0.5


def recall_speeds(cache: Cache, machine: str) -> dict[str, float]:
    """Seconds a unit by kind, of this machine; none where nothing can be read."""
    known = _read(cache).get(machine, {})
    return {
        kind: float(seconds)
        for kind, seconds in (known.items() if isinstance(known, dict) else ())
        if isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    }


def remember_speeds(cache: Cache, machine: str, measured: Mapping[str, float]) -> None:
    """Keep what was measured, where the cache keeps anything."""
    if not measured:
        return
    known = recall_speeds(cache, machine)
    for kind, seconds in measured.items():
        former = known.pop(kind, seconds)
        known[kind] = NEW_SHARE * seconds + (1 - NEW_SHARE) * former  # at the end of the order
    found = _read(cache) | {machine: dict(list(known.items())[-MOST:])}
    cache.put_text(cache.root / NAME, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _read(cache: Cache) -> dict[str, Any]:
    try:
        found = json.loads((cache.root / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
