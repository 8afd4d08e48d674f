"""What one request may take of a served model, in size and in time. Without a server nothing is limited."""

import math
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass

from ..errors import BusyError, DeadlineError
from ..runtime import environment

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """The most of each; infinity where nothing is limited.

    Attributes:
        rows: of a request.
        characters: of a text in one cell.
        all_characters: of the texts of a request.
        pictures: of a row.
        picture_bytes: of a picture's file.
        body_bytes: of a request as it is sent.
        requests: that are worked on or wait, at a time.
        wait_seconds: until a request has its first turn.
        seconds: until it is answered.
    """

    rows: float = math.inf
    characters: float = math.inf
    all_characters: float = math.inf
    pictures: float = math.inf
    picture_bytes: float = math.inf
    body_bytes: float = math.inf
    requests: float = math.inf
    wait_seconds: float = math.inf
    seconds: float = math.inf

    @classmethod
    def of_server(cls) -> "Limits":
        """As the environment says.

        Raises:
            ConfigError: a variable isn't a whole number.
        """
        return cls(
            rows=_most(environment.SERVE_ROWS),
            characters=_most(environment.SERVE_CHARACTERS),
            all_characters=_most(environment.SERVE_ALL_CHARACTERS),
            pictures=_most(environment.SERVE_PICTURES),
            picture_bytes=_most(environment.SERVE_PICTURE_MIB) * MIB,
            body_bytes=_most(environment.SERVE_BODY_MIB) * MIB,
            requests=_most(environment.SERVE_REQUESTS),
            wait_seconds=_most(environment.SERVE_WAIT_SECONDS),
            seconds=_most(environment.SERVE_SECONDS),
        )


class Allowance:
    """What one request may take, from now on.

    Attributes:
        limits: how much that is.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        """None for a caller who is trusted."""
        self.limits = limits or Limits()
        self._since = time.monotonic()
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Nobody waits for the answer any more; whoever works on it stops at the next check."""
        self._given_up.set()

    def check(self, *, waiting: bool = False) -> None:
        """To be called between two batches, or while the first turn is waited for.

        Raises:
            BusyError: the first turn didn't come in time.
            DeadlineError: it took too long, or nobody waits for the answer.
        """
        if self._given_up.is_set():
            raise DeadlineError("nobody waits for the answer any more")
        passed = time.monotonic() - self._since
        if waiting and passed > self.limits.wait_seconds:
            raise BusyError(
                f"the model is busy: others were before this request for {self.limits.wait_seconds:g} s; send it again"
            )
        if passed > self.limits.seconds:
            raise DeadlineError(
                f"not done after {self.limits.seconds:g} s, so the request was given up; send fewer rows at a time"
            )


# of the request that this thread works on, where a server has set one
CURRENT: ContextVar[Allowance | None] = ContextVar("CURRENT", default=None)


def _most(variable: environment.Variable) -> float:
    """0 lifts the limit."""
    return variable.integer() or math.inf
