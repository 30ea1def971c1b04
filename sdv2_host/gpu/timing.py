"""Spans of time per stage, on the clock of whoever does the work.

On the CPU a span is known when it ends. On CUDA it is a pair of events, and asking for their
distance at once would make the host wait for the device; so they are read one chunk later.
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


class SpanTimer:
    """Named spans of the chunk in progress and, on CUDA, of the one before."""

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._spans_ms: dict[str, float] = {}
        self._recorded: list[_Span] = []
        self._previous: list[_Span] = []

    @property
    def lag_chunks(self) -> int:
        """How many chunks later `finish_chunk` tells a chunk's spans."""
        return 1 if self._on_cuda else 0

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time spent inside counts towards `name` in this chunk."""
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

    def finish_chunk(self) -> dict[str, float]:
        """Milliseconds per span of the chunk just done; on CUDA, of the chunk before it."""
        for name, start, end in self._previous:
            self._add(name, start.elapsed_time(end))
        self._previous, self._recorded = self._recorded, []
        spans_ms, self._spans_ms = self._spans_ms, {}
        return spans_ms

    def _add(self, name: str, span_ms: float) -> None:
        self._spans_ms[name] = self._spans_ms.get(name, 0.0) + span_ms
