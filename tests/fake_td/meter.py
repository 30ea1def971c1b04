"""How long the component's code holds the main thread in each frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class FrameTime(NamedTuple):
    """Time in the component's code during one frame, without TouchDesigner's own work in it."""

    frame: int
    cpu_ms: float
    wall_ms: float


class ComponentMeter:
    """Counts what callbacks, scripts and extensions take, not the cooks and pictures they ask for.

    Fields: `times` per session; `_turns`, whose code runs now (True = the component's), and the
    sums per frame.
    """

    def __init__(self) -> None:
        self.times: list[FrameTime] = []
        self._turns: list[bool] = [False]
        self._since = _clocks()
        self._cpu_ns = 0
        self._wall_ns = 0

    @contextmanager
    def component(self) -> Iterator[None]:
        """The body is the component's code."""
        yield from self._turn(True)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """The body is TouchDesigner's own work, asked for by the component."""
        yield from self._turn(False)

    def end_frame(self, frame: int) -> None:
        """Keeps the sums as those of `frame` and begins new ones."""
        self.times.append(FrameTime(frame, self._cpu_ns / 1e6, self._wall_ns / 1e6))
        self._cpu_ns = self._wall_ns = 0

    def _turn(self, of_component: bool) -> Iterator[None]:
        self._tick()
        self._turns.append(of_component)
        try:
            yield
        finally:
            self._tick()
            self._turns.pop()

    def _tick(self) -> None:
        cpu, wall = _clocks()
        if self._turns[-1]:
            self._cpu_ns += cpu - self._since[0]
            self._wall_ns += wall - self._since[1]
        self._since = (cpu, wall)


def _clocks() -> tuple[int, int]:
    return time.thread_time_ns(), time.perf_counter_ns()
