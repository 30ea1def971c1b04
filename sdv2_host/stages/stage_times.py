"""What a rank's work takes, smoothed: what the block scheduler plans with."""

from __future__ import annotations

from collections import deque

import torch

from sdv2_host.gpu.timing import SpanTimer

SMOOTHING = 0.2
"""Of the newest measurement."""


class StageTimes:
    """Milliseconds of one block for one row, of encoding and of decoding one chunk."""

    def __init__(self, device: torch.device) -> None:
        self.timer = SpanTimer(device)
        self._counts: deque[dict[str, int]] = deque()
        self._ms: dict[str, float] = {}

    def count(self, **done: int) -> None:
        """So often each span's work was done since the last time; what it took is added."""
        self._counts.append(done)
        spans_ms = self.timer.finish_chunk()
        if len(self._counts) <= self.timer.lag_chunks:
            return
        for name, times in self._counts.popleft().items():
            if times and name in spans_ms:
                one_ms = spans_ms[name] / times
                before_ms = self._ms.get(name, one_ms)
                self._ms[name] = before_ms + SMOOTHING * (one_ms - before_ms)

    def ms(self, name: str) -> float | None:
        """Of one of what the name stands for; None = not measured."""
        return self._ms.get(name)
