"""The speed ledger: how fast, how much of the time waiting for data, how much memory."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
