"""What the machine has."""

import os
import platform
import time
from dataclasses import dataclass

import psutil
import torch

from .device import pick_device

GIB = 2**30
# of the rate of large products, what towers reach: docs/lab-log.md for CUDA and for the CPU
EFFICIENCY = {"cuda": 0.35, "mps": 0.35, "cpu": 0.7}


@dataclass(frozen=True)
class Machine:
    """The machine as far as plans depend on it.

    Attributes:
        device: that training runs on: "cuda", "mps" or "cpu".
        name: of the GPU, "" without one.
        cores: of the CPU, that this process may use.
        memory: bytes of main memory that are free.
        gpu_memory: bytes of the GPU's, 0 without one of its own.
    """

    device: str
    name: str
    cores: int
    memory: int
    gpu_memory: int

    def __str__(self) -> str:
        gpu = {"cpu": "no GPU", "mps": "Apple's GPU"}.get(self.device)
        cores = "1 CPU core" if self.cores == 1 else f"{self.cores} CPU cores"
        gpu = gpu or f"{self.name} with {self.gpu_memory / GIB:.0f} GiB"
        return f"{cores}, {self.memory / GIB:.1f} GiB of memory free, {gpu}"


def machine_name(device: torch.device) -> str:
    """What speeds are remembered under: the GPU, or the threads of this process and the kind of CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"


def multiplications_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Multiplications, each with an addition, that towers get through on a device, by a product of matrices."""
    side = 8192 if device.type == "cuda" else 1024
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    seconds = float("inf")
    for _ in range(4):  # the first is slow
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for a GPU
        seconds = min(seconds, time.perf_counter() - start)
    return EFFICIENCY[device.type] * side**3 / seconds


def find_machine() -> Machine:
    """The one that this runs on."""
    device = pick_device()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name, gpu_memory = "", 0
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, gpu_memory = properties.name, properties.total_memory
    return Machine(device.type, name, cores, psutil.virtual_memory().available, gpu_memory)
