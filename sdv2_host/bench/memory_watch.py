"""Memory while a cell is measured: the most there was, and whether it grows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

MIB = 2**20
EARLY = 0.1
"""Of a run: by then all that is allocated once has been."""


@dataclass(frozen=True, slots=True)
class MemoryMark:
    """At one moment of a run. What is on the device is 0 where that is the CPU."""

    chunk: int
    allocated_mb: float
    """On the device, by torch's tensors."""
    num_allocations: int
    """On the device, held now."""
    num_ever: int
    """Allocations on the device since the process began, those that torch answers from what it
    keeps among them."""
    host_mb: float
    """Resident, of the process."""


class MemoryWatch:
    """Fields: per run, which it is told of chunk by chunk."""

    def __init__(self, device: torch.device) -> None:
        """The device's peaks begin anew."""
        self._on_cuda = device.type == "cuda"
        self._device = device
        self._process = psutil.Process()
        self._peak_host_mb = 0.0
        self._early: MemoryMark | None = None
        self._latest: MemoryMark | None = None
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats(device)

    def see(self, chunk: int, fraction: float) -> None:
        """So much of the run is done. Asks the device nothing that it would have to wait for."""
        host_mb = self._process.memory_info().rss / MIB
        self._peak_host_mb = max(self._peak_host_mb, host_mb)
        if self._early is None and fraction >= EARLY:
            self._early = self._mark(chunk, host_mb)
        if fraction >= 1:
            self._latest = self._mark(chunk, host_mb)

    def _mark(self, chunk: int, host_mb: float) -> MemoryMark:
        if not self._on_cuda:
            return MemoryMark(chunk, 0.0, 0, 0, host_mb)
        stats: dict[str, int] = torch.cuda.memory_stats(self._device)
        return MemoryMark(
            chunk,
            stats["allocated_bytes.all.current"] / MIB,
            stats["allocation.all.current"],
            stats["allocation.all.allocated"],
            host_mb,
        )

    def result(self) -> dict[str, Any]:
        """Peaks, and the run at `EARLY` and at its end."""
        early, latest = self._early, self._latest
        assert early is not None, "the run has begun"
        assert latest is not None, "the run has ended"
        num_chunks = max(latest.chunk - early.chunk, 1)
        return {
            "peak_device_mb": self._peak_device_mb(),
            "peak_host_mb": self._peak_host_mb,
            "early": asdict(early),
            "end": asdict(latest),
            "device_growth_mb": latest.allocated_mb - early.allocated_mb,
            "device_growth_allocations": latest.num_allocations - early.num_allocations,
            "host_growth_mb": latest.host_mb - early.host_mb,
            "allocations_per_chunk": (latest.num_ever - early.num_ever) / num_chunks,
        }

    def _peak_device_mb(self) -> float:
        if not self._on_cuda:
            return 0.0
        return torch.cuda.max_memory_allocated(self._device) / MIB
