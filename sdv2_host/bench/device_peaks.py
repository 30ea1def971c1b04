"""The most that a device can compute and move: what its maker says, and what it does here.

Figures of makers are for dense 16-bit matrix products that are accumulated in 32 bits. They are
looked up by the exact name of the card: slices of cards, and laptops' cards of the same number,
have others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdv2_host.clock import NS_PER_S, now_ns

_SHEET = "maker's data sheet"
_ADA = "NVIDIA Ada GPU architecture, appendix A"
_BLACKWELL = "NVIDIA RTX Blackwell GPU architecture, appendix A"
_AMPERE = "NVIDIA Ampere GA102 GPU architecture, appendix A"
_CARDS: dict[str, tuple[float, float, str]] = {
    # as torch names it: TFLOP/s, TB/s, source
    "NVIDIA B200": (2250.0, 8.0, _SHEET),
    "NVIDIA H200": (990.0, 4.8, _SHEET),
    "NVIDIA H200 NVL": (836.0, 4.8, _SHEET),
    "NVIDIA H100 80GB HBM3": (990.0, 3.35, _SHEET),
    "NVIDIA H100 NVL": (836.0, 3.9, _SHEET),
    "NVIDIA H100 PCIe": (756.0, 2.0, _SHEET),
    "NVIDIA A100-SXM4-80GB": (312.0, 2.039, _SHEET),
    "NVIDIA A100-SXM4-40GB": (312.0, 1.555, _SHEET),
    "NVIDIA A100 80GB PCIe": (312.0, 1.935, _SHEET),
    "NVIDIA A100-PCIE-40GB": (312.0, 1.555, _SHEET),
    "NVIDIA L40S": (362.0, 0.864, _SHEET),
    "NVIDIA L4": (121.0, 0.300, _SHEET),
    "NVIDIA GeForce RTX 5090": (209.5, 1.792, _BLACKWELL),
    "NVIDIA GeForce RTX 4090": (165.2, 1.008, _ADA),
    "NVIDIA GeForce RTX 3090": (71.0, 0.936, _AMPERE),
}
_SIXTEEN_BITS = (torch.bfloat16, torch.float16)
_MATRIX_SIDE = {"cuda": 8192, "mps": 4096, "cpu": 1024}
_COPY_BYTES = {"cuda": 2**30, "mps": 2**28, "cpu": 2**27}
_NUM_TINY = 2000
_REPEATS, _LEAST_S = 5, 0.4


@dataclass(frozen=True, slots=True)
class Peak:
    tflops: float
    tbps: float
    source: str


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """Of one device and number format."""

    name: str
    peak: Peak
    """What shares of the roofline are of."""
    measured: Peak
    """By a large matrix product and a large copy, in this run."""
    launch_us: float
    """Of the smallest operation, many in a row: what an operation costs however little it does."""

    def compute_ms(self, flop: int) -> float:
        return flop / self.peak.tflops / 1e9

    def move_ms(self, num_bytes: int) -> float:
        return num_bytes / self.peak.tbps / 1e9

    def launch_ms(self, num_kernels: int) -> float:
        return num_kernels * self.launch_us / 1e3


def published_peak(name: str, dtype: torch.dtype) -> Peak | None:
    """What the maker says of the card of this name; None = unknown, or another number format."""
    found = _CARDS.get(name)
    return Peak(*found) if found and dtype in _SIXTEEN_BITS else None


def device_limits(device: torch.device, dtype: torch.dtype) -> DeviceLimits:
    """The device's limits; a second of measuring. Waits for the device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    measured = _measured_peak(device, dtype)
    return DeviceLimits(
        name,
        published_peak(name, dtype) or measured,
        measured,
        _launch_us(device),
    )


def wait_for(device: torch.device) -> None:
    """All that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@torch.inference_mode()
def _measured_peak(device: torch.device, dtype: torch.dtype) -> Peak:
    side = _MATRIX_SIDE[device.type]
    one, other = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(one)
    matmul_s = _least_s(device, lambda: torch.mm(one, other, out=out))
    source = torch.zeros(_COPY_BYTES[device.type], device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy_s = _least_s(device, lambda: target.copy_(source))
    return Peak(
        2 * side**3 / matmul_s / 1e12,
        2 * source.nbytes / copy_s / 1e12,
        f"measured: {side}x{side} matrix product, copy of {source.nbytes >> 20} MiB",
    )


@torch.inference_mode()
def _launch_us(device: torch.device) -> float:
    x = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(_NUM_TINY):
            x.add_(1)

    return _least_s(device, many) / _NUM_TINY * 1e6


def _least_s(device: torch.device, run: Callable[[], Tensor | None]) -> float:
    """Seconds of the fastest of some runs, after one that loads kernels: what disturbs one only
    adds."""
    times_s: list[float] = []
    while len(times_s) <= _REPEATS or sum(times_s) < _LEAST_S:
        begin_ns = now_ns()
        run()
        wait_for(device)
        times_s.append((now_ns() - begin_ns) / NS_PER_S)
    return min(times_s[1:])
