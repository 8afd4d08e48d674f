"""python -m pytest tests/runtime/test_device.py"""

import contextlib
import os

import pytest
import torch

from mmclf.runtime import device as module
from mmclf.runtime.device import Precision, pick_device, pick_precision, pick_workers

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def machine(monkeypatch, *, cuda_bf16=False, avx512=False, amx=False, cores=8):
    """Pretend that this machine has these capabilities."""

    def is_bf16_supported(including_emulation=True):
        return cuda_bf16 or including_emulation  # as torch does: an old card emulates it, slowly

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_amp_off_is_float32_on_the_best_machine(monkeypatch, device):
    machine(monkeypatch, cuda_bf16=True, avx512=True, amx=True)
    assert pick_precision(device, amp=False) == Precision(None, False, "amp is off")


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (True, True)])
def test_cpu_with_fast_bfloat16_uses_it(monkeypatch, avx512, amx):
    machine(monkeypatch, avx512=avx512, amx=amx)
    precision = pick_precision(CPU, amp=True)
    assert (precision.dtype, precision.scale_loss, precision.name) == (torch.bfloat16, False, "bfloat16")


def test_cpu_without_fast_bfloat16_stays_in_float32(monkeypatch):
    machine(monkeypatch)
    precision = pick_precision(CPU, amp=True)
    assert (precision.dtype, precision.scale_loss, precision.name) == (None, False, "float32")
    assert "cpu" in precision.reason


def test_torch_without_the_capability_checks_stays_in_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert pick_precision(CPU, amp=True).dtype is None


def test_this_torch_has_the_capability_checks():
    # they aren't public: if a release drops them, every CPU silently computes in float32
    assert isinstance(torch.cpu._is_avx512_bf16_supported(), bool)
    assert isinstance(torch.cpu._is_amx_tile_supported(), bool)
    assert isinstance(module._cpu_has_bfloat16(), bool)


def test_cuda_uses_bfloat16_without_a_scaler(monkeypatch):
    machine(monkeypatch, cuda_bf16=True)
    precision = pick_precision(CUDA, amp=True)
    assert (precision.dtype, precision.scale_loss, precision.name) == (torch.bfloat16, False, "bfloat16")


def test_cuda_that_only_emulates_bfloat16_uses_float16_with_a_scaler(monkeypatch):
    machine(monkeypatch, cuda_bf16=False)
    precision = pick_precision(CUDA, amp=True)
    assert (precision.dtype, precision.scale_loss, precision.name) == (torch.float16, True, "float16")


def test_apples_gpu_stays_in_float32(monkeypatch):
    machine(monkeypatch, cuda_bf16=True, avx512=True, amx=True)
    assert pick_precision(MPS, amp=True).dtype is None


def test_autocast_computes_in_the_chosen_dtype():
    a = torch.ones(4, 4)
    with Precision(torch.bfloat16, False, "").autocast(CPU):
        assert (a @ a).dtype == torch.bfloat16
    with Precision(None, False, "").autocast(CPU) as nothing:
        assert nothing is None
        assert (a @ a).dtype == torch.float32
    assert isinstance(Precision(None, False, "").autocast(CPU), contextlib.nullcontext)


@pytest.mark.parametrize(("cuda", "mps", "kind"), [(1, 1, "cuda"), (1, 0, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_the_best_device_is_picked(monkeypatch, cuda, mps, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert pick_device().type == kind


@pytest.mark.parametrize(
    ("device", "wanted", "cores", "workers"),
    [
        (CPU, None, 8, 0),
        (MPS, None, 8, 0),
        (CUDA, None, 4, 3),
        (CUDA, None, 64, 16),
        (CUDA, None, 1, 0),
        (CPU, 3, 1, 3),
        (CUDA, 0, 64, 0),
        (CUDA, 12, 4, 12),
    ],
)
def test_workers_are_as_configured_or_fit_the_machine(monkeypatch, device, wanted, cores, workers):
    machine(monkeypatch, cores=cores)
    assert pick_workers(device, wanted) == workers


def test_workers_where_the_system_has_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert pick_workers(CUDA, None) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert pick_workers(CUDA, None) == 0
