"""Memory for frames, used again when nobody holds it: a fresh 8 MB costs more than copying 8 MB."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

MAX_BUFFERS = 8


class FramePool:
    """Hands out buffers of one size at a time; keeps as many as were ever held at once, at most 8.

    A buffer is free again when the pool holds the only reference to it. Every array made from it
    (`reshape`, slices, `torch.from_numpy`, memoryviews) refers to it as long as it lives, so a
    frame that anybody still has is never written again.
    """

    def __init__(self) -> None:
        self._buffers: list[NDArray[np.uint8]] = [np.empty(1, np.uint8)]
        # What `_references` counts for a buffer that nobody else has; interpreters differ.
        self._unheld = self._references(0)
        self._buffers = []

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """A flat buffer of that many bytes, content undefined, that nobody else refers to."""
        if self._buffers and self._buffers[0].size != num_bytes:
            self._buffers = []
        for index in range(len(self._buffers)):
            if self._references(index) == self._unheld:
                return self._buffers[index]
        buffer = np.empty(num_bytes, np.uint8)
        if len(self._buffers) == MAX_BUFFERS:
            self._buffers.pop(0)  # its holder keeps it; we forget it
        self._buffers.append(buffer)
        return buffer

    def _references(self, index: int) -> int:
        return sys.getrefcount(self._buffers[index])
