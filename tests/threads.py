"""Waiting for other threads."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)
