"""What a device can give beside what a step takes, so that keeping something cannot end a step."""

from __future__ import annotations

import torch

from sdv2_host.gpu.device import device_memory

MARGIN_BYTES = 256 << 20
"""Of a GPU's memory: freed pieces that no larger tensor fits into. A guess, not measured."""


class Headroom:
    """Fields, per process: the device; what a step takes at most, known on CUDA alone."""

    def __init__(self, device: torch.device) -> None:
        self.step_bytes = 0
        self._device = device
        self._is_cuda = device.type == "cuda"

    def begin(self) -> None:
        """Steps from here on are measured."""
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats(self._device)

    def measured(self) -> None:
        """The steps since `begin` were those that take most; none runs now."""
        if self._is_cuda:
            peak_bytes = torch.cuda.max_memory_allocated(self._device)
            self.step_bytes = peak_bytes - torch.cuda.memory_allocated(self._device)

    def spare_bytes(self) -> int:
        """What can be kept in addition, and every step still has what it needs. May be negative."""
        free_bytes = device_memory(self._device).free
        if not self._is_cuda:
            return free_bytes
        # What torch holds and does not use, it gives to the next tensor or back to the device.
        idle_bytes = torch.cuda.memory_reserved(self._device)
        idle_bytes -= torch.cuda.memory_allocated(self._device)
        return free_bytes + idle_bytes - self.step_bytes - MARGIN_BYTES
