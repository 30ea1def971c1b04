"""What the daemon knows of its workers from what they say."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.ipc.messages import FromWorker, Heartbeat, Ready, Report

SPANS_CHUNKS = 32
IDLE_S = 1.0
"""A worker that waits for input says so ten times a second; after this long without it, it has a
chunk in hand."""


class Busy(NamedTuple):
    """A worker at a chunk that takes longer than `IDLE_S`. As text: one line for a person."""

    elapsed_s: float
    chunk_s: float
    """What chunks took lately; 0 = there was none yet."""

    @property
    def is_usual(self) -> bool:
        """Whether pictures come, if slowly: not where it may be stuck, or at its first chunk."""
        return self.elapsed_s < 2 * self.chunk_s

    def __str__(self) -> str:
        if self.is_usual:
            return f"fresh frames reach the output, a chunk takes {self.chunk_s:.1f} s"
        return f"the engine has been at one chunk for {self.elapsed_s:.0f} s"


class WorkerLog:
    """What the workers reported, summed over their lives.

    Fields: `ready` and `newest` of the living worker; `spans` of the last chunks, and how many
    frames each had and what it took; totals of the workers before it.
    """

    def __init__(self) -> None:
        self.ready: Ready | None = None
        self.newest: Report | None = None
        self._spans: deque[dict[str, float]] = deque(maxlen=SPANS_CHUNKS)
        self._took: deque[tuple[float, float]] = deque(maxlen=SPANS_CHUNKS)
        self._frames_in = 0
        self._dropped = 0
        self._heard_ns = 0
        self._is_idle = True

    def heard(self, message: FromWorker, now: int | None = None) -> None:
        """`now` in ns, None = now."""
        self._heard_ns = now_ns() if now is None else now
        self._is_idle = isinstance(message, Heartbeat | Ready)
        if isinstance(message, Ready):
            self.ready = message
        elif isinstance(message, Report):
            self.newest = message
            self._spans.append(message.spans_ms)
            self._took.append((message.notes.get("chunk_frames", 0.0), message.took_ms))

    def busy(self, now: int | None = None) -> Busy | None:
        """What the worker is at, None = it waits for input or has only just begun."""
        elapsed_s = ((now_ns() if now is None else now) - self._heard_ns) / NS_PER_S
        if self._is_idle and elapsed_s < IDLE_S:
            return None
        return Busy(elapsed_s, sum(self.spans_ms.values()) / 1000)

    def took_over(self, ready: Ready, newest: Report | None) -> None:
        """Another worker is heard from now on, which has said this already.

        What it counted until now the one before has counted too.
        """
        frames_in, dropped = self.frames_in, self.dropped
        self.ready, self.newest = ready, newest
        self._frames_in = frames_in - (newest.frames_in if newest else 0)
        self._dropped = dropped - (newest.dropped if newest else 0)
        self._spans.clear()
        self._took.clear()
        self._heard_ns = now_ns()
        self._is_idle = newest is None

    def died(self) -> None:
        """The next report comes from another worker, whose counts begin at 0."""
        if self.newest is not None:
            self._frames_in, self._dropped = self.frames_in, self.dropped
        self.ready = None
        self.newest = None

    @property
    def frames_in(self) -> int:
        return self._frames_in + (self.newest.frames_in if self.newest else 0)

    @property
    def dropped(self) -> int:
        return self._dropped + (self.newest.dropped if self.newest else 0)

    @property
    def possible_fps(self) -> float:
        """Pictures a second, were the engine always at work; 0 = not known."""
        took_ms = sum(ms for _, ms in self._took)
        return 1000 * sum(count for count, _ in self._took) / took_ms if took_ms else 0.0

    @property
    def spans_ms(self) -> dict[str, float]:
        """Mean of each stage over the chunks that had it."""
        spans = list(self._spans)
        names = dict.fromkeys(name for chunk in spans for name in chunk)
        values = {name: [chunk[name] for chunk in spans if name in chunk] for name in names}
        return {name: round(sum(ms) / len(ms), 3) for name, ms in values.items()}
