"""Spans of time per stage, on the clock of whoever does the work.

On the CPU a span is known when it ends. On CUDA it is a pair of events, and asking for their
distance at once would make the host wait for the device; so they are read with the pictures, when
the device is done with the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from sdv2_host.clock import NS_PER_MS, now_ns


class _Span(NamedTuple):
    name: str
    start: torch.cuda.Event
    end: torch.cuda.Event


class ChunkSpans:
    """Named spans of one chunk. Several threads may take turns with it."""

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._spans_ms: dict[str, float] = {}
        self._recorded: list[_Span] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time spent inside counts towards `name`; on CUDA, that of the current stream."""
        if self._on_cuda:
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._recorded.append(_Span(name, start, end))
            return
        start_ns = now_ns()
        yield
        self._add(name, (now_ns() - start_ns) / NS_PER_MS)

    def read_ms(self) -> dict[str, float]:
        """Milliseconds per span. To be asked once, when the device is done with all of them."""
        for name, start, end in self._recorded:
            # The last one ends behind the pictures that were waited for: a moment later, if at all.
            end.synchronize()
            self._add(name, start.elapsed_time(end))
        return self._spans_ms

    def _add(self, name: str, span_ms: float) -> None:
        self._spans_ms[name] = self._spans_ms.get(name, 0.0) + span_ms
