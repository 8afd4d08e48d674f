"""The speed ledger: how fast, how much of the time waiting for data, how much memory."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import psutil
import torch

T = TypeVar("T")
MIB = 2**20


class Stopwatch:
    """Wall time since it was made, and the part of it that was spent waiting for data.

    Attributes:
        wait: seconds spent in `waiting`.
    """

    def __init__(self) -> None:
        self.wait = 0.0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self._start

    @property
    def wait_share(self) -> float:
        """In [0, 1]."""
        return self.wait / max(self.seconds, 1e-9)

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """Pass `items` on; the time that each takes to come counts as waiting."""
        source = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self.wait += time.perf_counter() - start
            yield item


def peak_memory(device: torch.device) -> float:
    """MiB that this process held at most so far: of the GPU's memory on CUDA, else of main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / MIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # macOS counts bytes, Linux KiB


@dataclass
class Ledger:
    """What encoding took. `reused` and `computed` count views and texts; `wait` is the share spent on data."""

    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """Under the names of the charts."""
        figures = {"features/computed": self.computed, "features/reused": self.reused, "features/seconds": self.seconds}
        if self.computed:
            figures["features/rows_per_second"] = self.computed / self.seconds
            figures["features/data_wait"] = self.wait_seconds / self.seconds
        return figures

    def count(self, there: np.ndarray, watch: Stopwatch) -> None:
        """Add what was found and what was computed."""
        self.reused += int(there.sum())
        self.computed += int((~there).sum())
        if not there.all():
            self.seconds += watch.seconds
            self.wait_seconds += watch.wait

    def add(self, other: "Ledger") -> None:
        """Add what another one counted."""
        self.computed += other.computed
        self.reused += other.reused
        self.seconds += other.seconds
        self.wait_seconds += other.wait_seconds
