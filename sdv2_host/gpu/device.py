"""Devices by name, and the memory they have."""

from __future__ import annotations

from typing import NamedTuple

import psutil
import torch

from sdv2_host.errors import DeviceError

GIB = 2**30


class DeviceMemory(NamedTuple):
    """Bytes."""

    total: int
    free: int


def resolve_device(name: str, option: str = "--device") -> torch.device:
    """The device that `Config.device` names; auto = the first GPU, else the CPU.

    `option` is what errors call the setting.

    Raises:
        DeviceError: it is not there, saying what is.
    """
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if num_cuda else _best_without_cuda())
    kind, _, number = name.partition(":")
    index = int(number or 0)
    if kind == "cuda" and index >= num_cuda:
        found = f"{num_cuda} CUDA devices" if num_cuda else "no CUDA device"
        raise DeviceError(
            f"{option} {name}: torch {torch.__version__} finds {found} here; use {option} auto"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"{option} {name}: no Apple GPU here; use {option} auto")
    return torch.device(f"cuda:{index}" if kind == "cuda" else kind)


def is_named(device: torch.device, name: str) -> bool:
    """Whether `name`, as `resolve_device` takes it, means `device`, which need not be here.

    auto is taken for the first device of its kind.
    """
    kind, _, number = name.partition(":")
    return kind in (device.type, "auto") and int(number or 0) == (device.index or 0)


def _best_without_cuda() -> str:
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format that `Config.dtype` names; auto = bfloat16 on a GPU, float32 on a CPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype), f"dtype {name}"
    return dtype


def device_memory(device: torch.device) -> DeviceMemory:
    """Of the device now; the CPU's is the memory that can be had without swapping."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceMemory(total, free)
    memory = psutil.virtual_memory()
    if device.type == "mps":
        most = torch.mps.recommended_max_memory()
        return DeviceMemory(most, min(most, memory.available))
    return DeviceMemory(memory.total, memory.available)


def device_name(device: torch.device) -> str:
    """For people: the GPU's model, or the kind of device."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, str(device))
