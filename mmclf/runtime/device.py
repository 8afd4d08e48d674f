"""What the machine offers: device, precision, loader workers."""

import contextlib
import os
from dataclasses import dataclass

import torch

from . import environment


@dataclass(frozen=True)
class Precision:
    """How the towers are computed. Weights, head, loss and optimiser are float32 in every case.

    Attributes:
        dtype: of autocast inside the towers, None for plain float32.
        scale_loss: whether gradients need a scaler (float16 only).
        reason: one phrase for the log.
    """

    dtype: torch.dtype | None
    scale_loss: bool
    reason: str

    @property
    def name(self) -> str:
        """What torch calls the dtype: "float32", "bfloat16" or "float16"."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """The context that the towers run in."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.dtype)


def pick_device(local_rank: int = 0) -> torch.device:
    """CUDA where there is one (the one of this number), else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_precision(device: torch.device, amp: bool) -> Precision:
    """The fastest safe precision of the device, or float32 with `amp` off.

    bfloat16 keeps float32's range and needs no scaler; float16 is used only on CUDA cards without it. A CPU
    computes bfloat16 fast only with AVX512-BF16 or AMX: without them ViT-L/14 took 10.1 s an image under
    autocast and 1.26 s in float32.
    """
    if not amp:
        return Precision(None, False, "amp is off")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(torch.bfloat16, False, "the GPU has bfloat16")
        return Precision(torch.float16, True, "the GPU has no bfloat16")
    if device.type == "cpu" and _cpu_has_bfloat16():
        return Precision(torch.bfloat16, False, "the CPU has AVX512-BF16 or AMX")
    return Precision(None, False, f"no fast 16-bit arithmetic on this {device.type}")


def allow_tf32(device: torch.device) -> None:
    """Let CUDA compute what stays float32 beside autocast in TF32, and choose the fastest convolutions.

    Both cost less accuracy than bfloat16 does, and both are settings of the whole process.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def pick_workers(device: torch.device, wanted: int | None) -> int:
    """Loader processes: as configured, else up to 16 beside a GPU, and none where the CPU does it all."""
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= environment.LOCAL_WORLD_SIZE.integer()  # torchrun's processes on this machine share them
    return min(16, max(cores - 1, 0)) if device.type == "cuda" else 0


def encoding_batch(device: torch.device) -> int:
    """Pictures or texts that frozen towers are given at a time.

    A GPU wants many. A CPU is faster with what its cache holds: EfficientNet-lite0 in bfloat16 took 8 to 16 pictures
    at a time 1.8 times as fast as 64.
    """
    return 256 if device.type == "cuda" else 16


def _cpu_has_bfloat16() -> bool:
    # torch has no public check; one that disappears must not stop a run
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)
