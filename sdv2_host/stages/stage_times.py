"""What a rank's work takes, smoothed: what the block scheduler plans with.

Work on a device is only queued when its span ends, and the rank queues on without waiting for it.
So a span is two marks in the device's queue, and is read when a later one finds that the device has
passed them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch

from sdv2_host.clock import NS_PER_MS, now_ns

SMOOTHING = 0.2
"""Of the newest measurement."""


class Mark(Protocol):
    """A point in a device's queue, as `torch.cuda.Event` is one."""

    def record(self) -> None: ...

    def query(self) -> bool:
        """Whether the device has passed it."""

    def elapsed_time(self, end_event: Any, /) -> float:
        """Milliseconds from here to there. Both must have been passed."""


class HostMark:
    """Of a device whose work is done when the call that does it returns."""

    def record(self) -> None:
        self._at_ns = now_ns()

    def query(self) -> bool:
        return True

    def elapsed_time(self, end_event: HostMark, /) -> float:
        return (end_event._at_ns - self._at_ns) / NS_PER_MS


NewMark = Callable[[], Mark]


def marks_of(device: torch.device) -> NewMark:
    """What makes marks in the queue of the device."""
    return _cuda_mark if device.type == "cuda" else HostMark


def _cuda_mark() -> Mark:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


class _Span(NamedTuple):
    name: str
    times: int
    start: Mark
    end: Mark


class StageTimes:
    """Milliseconds of one block for one row, of encoding and of decoding one chunk."""

    def __init__(self, new_mark: NewMark) -> None:
        self._new_mark = new_mark
        self._under_way: deque[_Span] = deque()
        self._ms: dict[str, float] = {}

    @contextmanager
    def span(self, name: str, times: int = 1) -> Iterator[None]:
        """What is done inside is what the name stands for, so many times."""
        start, end = self._new_mark(), self._new_mark()
        start.record()
        yield
        end.record()
        self._under_way.append(_Span(name, times, start, end))
        while self._under_way and self._under_way[0].end.query():
            self._learn(self._under_way.popleft())

    def ms(self, name: str) -> float | None:
        """Of one of what the name stands for; None = not measured yet."""
        return self._ms.get(name)

    def _learn(self, span: _Span) -> None:
        one_ms = span.start.elapsed_time(span.end) / span.times
        before_ms = self._ms.get(span.name, one_ms)
        self._ms[span.name] = before_ms + SMOOTHING * (one_ms - before_ms)
