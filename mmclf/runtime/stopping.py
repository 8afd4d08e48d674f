"""How a process ends when it is asked to: what is worth keeping is kept first, and within seconds.

SIGTERM and Ctrl-C end the process at once, except while a block that can keep its state listens: it is told, and ends
at its next step. Whatever happens, the process is gone after GRACE seconds.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil

from . import environment

# seconds from the signal to the end; a scheduler that preempts gives 10 to 30
GRACE = 8.0
# seconds between two looks at whether what started this process is still there
WATCH = 1.0
TERMINATED, INTERRUPTED = 143, 130


class _Stop:
    """The signal that came, and who listens."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.listeners = 0
        self.last_words: Callable[[str], object] | None = None


_stop = _Stop()


def is_asked() -> bool:
    """Whether this process should end now."""
    return _stop.asked is not None


def end() -> None:
    """End, as the signal that came asks.

    Raises:
        SystemExit, KeyboardInterrupt: for SIGTERM, for Ctrl-C.
    """
    if _stop.asked == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(TERMINATED)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """A block that asks `is_asked` at each of its steps, and calls `end`."""
    _stop.listeners += 1
    try:
        yield
    finally:
        _stop.listeners -= 1


@contextlib.contextmanager
def handled(last_words: Callable[[str], object]) -> Iterator[None]:
    """A block in which SIGTERM and Ctrl-C are handled, and the end of `mlflow run` or torchrun is this process's too.

    Args:
        last_words: called with the reason by a process that couldn't end by itself in time.
    """
    _stop.asked, _stop.last_words = None, last_words
    former = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        former = {each: signal.signal(each, _on_signal) for each in (signal.SIGTERM, signal.SIGINT)}
    done = threading.Event()
    launchers = _launchers()
    if former and launchers:
        threading.Thread(target=_watch, args=(launchers, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        for each, handler in former.items():
            signal.signal(each, handler)
        _stop.asked, _stop.last_words = None, None


def _on_signal(number: int, frame: FrameType | None) -> None:
    again = _stop.asked is not None
    if not again:
        _stop.asked = number
        timer = threading.Timer(GRACE, _end_anyway)
        timer.daemon = True
        timer.start()
    if again or not _stop.listeners:
        end()


def _end_anyway() -> None:
    """The main thread is in a step that takes longer than there is time."""
    if _stop.asked is None:
        return  # it has ended after all, and something else goes on in this process
    if _stop.last_words is not None:
        words = threading.Thread(target=_stop.last_words, args=(reason(_stop.asked),), daemon=True)
        words.start()
        words.join(1.5)
    os._exit(INTERRUPTED if _stop.asked == signal.SIGINT else TERMINATED)


def reason(number: int) -> str:
    """Why a run ended, for people."""
    return "interrupted by Ctrl-C" if number == signal.SIGINT else f"killed by {signal.Signals(number).name}"


def _launchers() -> list[psutil.Process]:
    """The `mlflow run` that started this process, and torchrun or its like; none where it was started by hand."""
    found = []
    with contextlib.suppress(psutil.Error):
        parents = psutil.Process().parents()
        if environment.WORLD_SIZE.get() != "1":
            found += parents[:1]
        if environment.RUN_ID.get():
            found += [parent for parent in parents if _is_mlflow_run(parent.cmdline())]
    return found


def _is_mlflow_run(words: list[str]) -> bool:
    return any(Path(word).name == "mlflow" for word in words[:3]) and "run" in words[:4]


def _watch(launchers: list[psutil.Process], done: threading.Event) -> None:
    while not done.wait(WATCH):
        if not all(map(_is_there, launchers)):
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _is_there(process: psutil.Process) -> bool:
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
