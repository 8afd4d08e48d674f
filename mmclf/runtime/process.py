"""Which process this is, and whether another one still runs."""

import contextlib
import os
import socket
from dataclasses import dataclass
from functools import cache

import psutil


@dataclass(frozen=True)
class ProcessName:
    """A process, told apart from a later one of the same number.

    Attributes:
        host: name of its machine.
        pid: its number there.
        started: in whole seconds since 1970.
    """

    host: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.started}"

    @classmethod
    def parse(cls, text: str) -> "ProcessName | None":
        """What `str` gave; None of any other text."""
        host, _, rest = text.rpartition(":")[0].rpartition(":")
        started = text.rpartition(":")[2]
        return cls(host, int(rest), int(started)) if host and rest.isdecimal() and started.isdecimal() else None

    @property
    def is_here(self) -> bool:
        """Whether it is one of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool | None:
        """Whether it still runs; None of another machine's, which can't be known."""
        if not self.is_here:
            return None
        try:
            found = psutil.Process(self.pid)
            return int(found.create_time()) == self.started and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:  # it is there, and another user's
            return True


@cache
def _named(pid: int) -> ProcessName:
    return ProcessName(socket.gethostname(), pid, int(psutil.Process(pid).create_time()))


def this_process() -> ProcessName:
    """The one that this runs in."""
    return _named(os.getpid())


def is_in_an_environment(name: str, value: str) -> bool:
    """Whether a process of this machine, as far as one may look, was started with this environment variable.

    Args:
        name: of the variable.
        value: of it.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value:
                return True
    return False
