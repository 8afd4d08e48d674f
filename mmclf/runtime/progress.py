"""Progress of the whole work: one bar with the time left on a terminal, plain lines elsewhere.

`whole` opens the work, `track` tells it how a loop gets on; see agenda.py for what it makes of it.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from tqdm import tqdm

from .agenda import Agenda
from .console import has_bar, note, say

__all__ = ["aligned", "clock", "current", "is_shown", "say", "step", "track", "whole"]

T = TypeVar("T")
# seconds between two plain lines, a little less than the ten that are promised, and between two looks at the clock
PLAIN_INTERVAL, TICK = 9.5, 0.5
BAR_WIDTH = 20

_open: list[Agenda] = []


@contextlib.contextmanager
def whole(name: str, known: Mapping[str, float] | None = None) -> Iterator[Agenda]:
    """Show a piece of work while it goes on; within another one it is a part of that, and gives that.

    Args:
        name: of the work.
        known: see `Agenda`.
    """
    if _open:
        yield _open[0]
        return
    agenda = Agenda(name, known)
    _open.append(agenda)
    try:
        with _shown(agenda):
            yield agenda
    finally:
        _open.clear()


def current() -> Agenda:
    """The work that is shown; one that nobody sees where there is none."""
    return _open[0] if _open else Agenda("")


def is_shown() -> bool:
    """Whether a piece of work is shown."""
    return bool(_open)


def track(
    items: Iterable[T],
    total: float,
    name: str,
    *,
    kind: str = "",
    units: Callable[[T], float] = lambda _: 1.0,
    quiet: bool = False,
) -> Iterator[T]:
    """Pass `items` on, and say how far they are.

    Args:
        items: anything of known length.
        total: units in all of them.
        name: what is being done; see `Agenda.begin`.
        kind: what shares its speed; see `Phase`. "" for the name.
        units: of an item.
        quiet: say nothing, in a process or a thread that isn't the first of several.
    """
    if quiet:
        yield from items
        return
    with contextlib.ExitStack() as stack:
        agenda, label = current(), name
        if not is_shown():
            agenda, label = stack.enter_context(whole(name.partition("[")[0])), ""
        running = agenda.begin(kind or name.partition("[")[0], total, label)
        try:
            for item in items:
                yield item
                agenda.advance(running, units(item))
        finally:
            agenda.end(running)


@contextlib.contextmanager
def step(kind: str, units: float, name: str) -> Iterator[None]:
    """Show something that can't be looked into while it goes on; see `track`."""
    agenda = current()
    running = agenda.begin(kind, units, name)
    try:
        yield
        agenda.advance(running, units)
    finally:
        agenda.end(running)


def describe(agenda: Agenda, *, bar: bool = False) -> str:
    """How far a piece of work is, in one line."""
    where = f"{agenda.name}: {agenda.place}" if agenda.place else agenda.name
    share, left = agenda.share, agenda.left
    if share is None or left is None:
        return f"{where}, {clock(agenda.elapsed)} so far"
    shown = f"{share:.0%}, {clock(left)} left"
    if bar:
        done = round(BAR_WIDTH * share)
        return f"{where} [{'#' * done}{'-' * (BAR_WIDTH - done)}] {shown}"
    return f"{where}, {shown}"


class Display:
    """Shows how far a piece of work is, as often as is due: `tick` is called all the time."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._bar = tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True) if has_bar() else None
        self._due = PLAIN_INTERVAL

    def tick(self) -> None:
        """Show what is due."""
        if self._bar is not None:
            self._bar.set_description_str(describe(self._agenda, bar=True))
        if self._agenda.elapsed >= self._due:
            self._due = self._agenda.elapsed + PLAIN_INTERVAL
            (note if self._bar is not None else say)(describe(self._agenda))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def _shown(agenda: Agenda) -> Iterator[None]:
    """Look at the clock from a thread of its own, for a step may take longer than a line may be waited for."""
    display, over = Display(agenda), threading.Event()

    def watch() -> None:
        while not over.wait(TICK):
            display.tick()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        display.close()


def clock(seconds: float) -> str:
    """Seconds as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole_seconds = round(seconds)
    if whole_seconds < 60:
        return f"{whole_seconds} s"
    if whole_seconds < 3600:
        return f"{whole_seconds // 60} min {whole_seconds % 60:02d} s"
    return f"{whole_seconds // 3600} h {whole_seconds % 3600 // 60:02d} min"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    return "\n".join(lines)
