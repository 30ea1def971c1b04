"""How well fresh frames reach the output: rate, latency, gaps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from sdv2_host.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from sdv2_host.host.budget import Timed
from sdv2_host.host.playout import PlayoutCounts
from sdv2_host.status import Percentiles
from sdv2_host.types import FrameFlags, FrameMeta

LATENCY_WINDOW_NS = 10 * NS_PER_S
MAX_RECENT = 1024
"""Of the pictures of that window: all but where more than a hundred come a second."""
FPS_WINDOW_NS = 3 * NS_PER_S


@dataclass(frozen=True, slots=True)
class PresenterStats:
    """What the output did. Windows: latency 10 s, fps 3 s; counts are since the start."""

    counts: PlayoutCounts
    fps: float
    """Fresh frames per second; 0 when none came for a second."""
    latency_ms: Percentiles
    """From the input slot's capture to the output slot's publication."""
    recent: tuple[Timed, ...]
    """The newest of the same pictures."""
    ttff_ms: float | None
    """From the first input frame after the first ready to its picture on the output."""
    cadence_gaps: int
    """Times that a fresh frame came more than two intervals after the one before it."""
    is_missing: bool = False
    """The model owes pictures which do not come: the safe picture is shown."""


class Meter:
    """Measures fresh frames. Not thread-safe."""

    def __init__(self) -> None:
        self._latencies_ms: deque[tuple[int, float]] = deque()
        self._recent: deque[Timed] = deque(maxlen=MAX_RECENT)
        self._fresh_ns: deque[int] = deque()
        self._ready_ns: int | None = None
        self._ttff_ms: float | None = None
        self._gaps = 0

    def ready(self, ready_ns: int) -> None:
        """The worker takes frames from `ready_ns` on; only the first call counts."""
        if self._ready_ns is None:
            self._ready_ns = ready_ns

    def fresh(self, meta: FrameMeta, now: int, interval_ns: int) -> None:
        """A frame that was not shown before is on the output since `now`, published then."""
        self._latencies_ms.append((now, (now - meta.source_capture_ts_ns) / NS_PER_MS))
        while self._latencies_ms[0][0] < now - LATENCY_WINDOW_NS:
            self._latencies_ms.popleft()
        self._recent.append(Timed(meta.source_capture_ts_ns // NS_PER_US, meta.budget))
        is_late = bool(self._fresh_ns) and now - self._fresh_ns[-1] > 2 * interval_ns
        self._gaps += is_late and FrameFlags.LOCKSTEP not in meta.flags
        self._fresh_ns.append(now)
        while self._fresh_ns[0] < now - FPS_WINDOW_NS:
            self._fresh_ns.popleft()
        if self._ttff_ms is None:
            # A source that was there before the engine was ready has not waited for us.
            begin_ns = max(meta.source_capture_ts_ns, self._ready_ns or 0)
            self._ttff_ms = (now - begin_ns) / NS_PER_MS

    def stats(self, counts: PlayoutCounts, now: int) -> PresenterStats:
        fps = 0.0
        if len(self._fresh_ns) > 1 and now - self._fresh_ns[-1] < NS_PER_S:
            elapsed_ns = self._fresh_ns[-1] - self._fresh_ns[0]
            fps = (len(self._fresh_ns) - 1) * NS_PER_S / elapsed_ns
        latency = Percentiles.of([ms for _, ms in self._latencies_ms])
        recent = list(self._recent)[-len(self._latencies_ms) :]
        return PresenterStats(
            counts, round(fps, 2), latency, tuple(recent), self._ttff_ms, self._gaps
        )
