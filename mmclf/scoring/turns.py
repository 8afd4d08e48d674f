"""Threads that use one model in turns, first come, first served."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from .limits import Allowance

LOOK_SECONDS = 0.25  # how often a thread that waits looks whether it is still wanted


class Turns:
    """A lock that is fair, and that whoever has much to do gives away between two batches."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._line: deque[Allowance] = deque()  # the first one's turn it is

    @contextlib.contextmanager
    def taken(self, allowance: Allowance) -> Iterator[None]:
        """Wait for the turn and hold it.

        Raises:
            BusyError: it didn't come in time.
            DeadlineError: nobody waits for the answer any more.
        """
        with self._change:
            self._line.append(allowance)
            try:
                self._wait(allowance, first=True)
            except BaseException:
                self._leave(allowance)
                raise
        try:
            yield
        finally:
            with self._change:
                self._leave(allowance)

    @contextlib.contextmanager
    def left(self, allowance: Allowance) -> Iterator[None]:
        """Let others have the turn, and wait for the next one; by the thread whose turn it is.

        Raises:
            DeadlineError: that came too late. The thread has to leave `taken` then.
        """
        with self._change:
            self._leave(allowance)
        yield
        with self._change:
            self._line.append(allowance)
            self._wait(allowance, first=False)

    def _wait(self, allowance: Allowance, *, first: bool) -> None:
        while self._line[0] is not allowance:
            allowance.check(waiting=first)
            self._change.wait(LOOK_SECONDS)

    def _leave(self, allowance: Allowance) -> None:
        with contextlib.suppress(ValueError):  # it may have left already
            self._line.remove(allowance)
        self._change.notify_all()
