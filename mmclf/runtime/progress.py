"""Progress on stderr: bars with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
# seconds between two plain lines
PLAIN_INTERVAL = 10.0


def say(text: str) -> None:
    """One line on stderr, above a bar where one is shown."""
    if sys.stderr.isatty():
        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def track(items: Iterable[T], total: int, name: str, *, quiet: bool = False) -> Iterator[T]:
    """Pass `items` on, and show how far they are.

    Args:
        items: anything of known length.
        total: that length.
        name: what is being done, shown before the figures.
        quiet: show nothing, in a process that isn't the first of several.
    """
    if quiet:
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=name, file=sys.stderr, leave=False, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL and done < total:
            left = (now - start) / done * (total - done)
            say(f"{name}: {done}/{total}, {clock(left)} left")
            last = now


def clock(seconds: float) -> str:
    """Seconds as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    return "\n".join(lines)
