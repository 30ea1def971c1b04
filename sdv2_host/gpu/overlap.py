"""What it is worth that stages of neighbouring chunks overlap, measured where it is to be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from sdv2_host.clock import NS_PER_MS, now_ns

Overlap = Literal["auto", "on", "off"]
"""What `Config.overlap` asks for."""

BUSY_LANES = 2
"""Chunks that are on their way at most, so as many lanes are at work at once."""
MOST_BEHIND = BUSY_LANES - 1
"""Of them, when a step returns. Where one lane needs more than both others together, it never
waits for the next chunk; more chunks would be later for little."""
WORTH = 1.15
"""On a CPU an overlap must give so many times as many pictures, as each comes later."""
ENOUGH_FPS = 30.0
"""What most sources have: a CPU that makes so many pictures one after the other is left to it."""
ROUNDS = 2
"""Both ways in turns: what else the machine does falls on both, and the least counts."""
STEADY_CHUNKS = 3


class Pace(NamedTuple):
    """What overlap makes of a chunk."""

    serial_ms: float
    """A chunk, with the whole device for each part."""
    alone_ms: float
    """The same in lanes, each with its share of the device; nothing else is on its way."""
    interval_ms: float
    """From one chunk to the next, in lanes that always have work."""

    @property
    def gain(self) -> float:
        """In pictures per second."""
        return self.serial_ms / self.interval_ms

    @property
    def lateness(self) -> float:
        """Of a picture where the lanes always have work, over that of serial steps."""
        return BUSY_LANES * self.interval_ms / self.serial_ms

    @property
    def pays(self) -> bool:
        """On a CPU that is short of pictures."""
        return self.gain >= WORTH

    def __str__(self) -> str:
        return (
            f"a chunk takes {self.serial_ms:.0f} ms one after the other; overlapped one comes each "
            f"{self.interval_ms:.0f} ms, {self.gain:.2f} times as many, "
            f"{self.alone_ms:.0f} to {BUSY_LANES * self.interval_ms:.0f} ms after it was full"
        )


def measured_pace(serial: Callable[[int], None], overlapped: Callable[[int], None]) -> Pace:
    """Of steps like these, which return when at most so many chunks are on their way."""
    times: list[Pace] = []
    for _ in range(ROUNDS):
        serial_ms = min(_took_ms(serial, 0) for _ in range(2))
        alone_ms = min(_took_ms(overlapped, 0) for _ in range(2))
        for _ in range(MOST_BEHIND + 1):
            overlapped(MOST_BEHIND)
        steady_ms = sum(_took_ms(overlapped, MOST_BEHIND) for _ in range(STEADY_CHUNKS))
        overlapped(0)
        times.append(Pace(serial_ms, alone_ms, steady_ms / STEADY_CHUNKS))
    return Pace(*(min(column) for column in zip(*times, strict=True)))


def _took_ms(step: Callable[[int], None], most_behind: int) -> float:
    begin_ns = now_ns()
    step(most_behind)
    return (now_ns() - begin_ns) / NS_PER_MS
