"""What the machine has."""

import os
from dataclasses import dataclass

import psutil
import torch

from .device import pick_device

GIB = 2**30


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


def find_machine() -> Machine:
    """The one that this runs on."""
    device = pick_device()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name, gpu_memory = "", 0
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, gpu_memory = properties.name, properties.total_memory
    return Machine(device.type, name, cores, psutil.virtual_memory().available, gpu_memory)
