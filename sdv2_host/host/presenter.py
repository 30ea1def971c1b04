"""The output stage: owns the public output ring and never lets the picture stop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import RingError
from sdv2_host.host.output_mix import OutputMix, Picture
from sdv2_host.host.playout import Playout, PlayoutCounts, Shown
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.status import Percentiles
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size

log = logging.getLogger(__name__)

OUTPUT_RING_SLOTS = 8
"""Twice the usual: a file recorder may fall a quarter second behind without losing a frame.

Also enough for a lock-step client, which has delay_frames + 1 under way: 4, or 5 where the first
chunk is that long.
"""
BATCH_OUTPUT_RING_SLOTS = 16
"""So many are under way with a batch of four steps, and come at once where it is emptied."""
LATENCY_WINDOW_NS = 10 * NS_PER_S
FPS_WINDOW_NS = 3 * NS_PER_S
DRY_POLL_S = 0.005
"""While the input is shown; the ring has no bell."""
DRY_PATIENCE_NS = 500 * NS_PER_MS
"""A lock-step frame waits so long for the input that is to be mixed into it."""
LONGEST_WAIT_S = 0.1
"""Readers want a sign of life ten times a second."""


@dataclass(frozen=True, slots=True)
class PresenterStats:
    """What the output did. Windows: latency 10 s, fps 3 s; counts are since the start."""

    counts: PlayoutCounts
    fps: float
    """Fresh frames per second; 0 when none came for a second."""
    latency_ms: Percentiles
    """From the input slot's capture to the output slot's publication."""
    ttff_ms: float | None
    """From the first input frame after the first ready to its picture on the output."""
    cadence_gaps: int
    """Times that a fresh frame came more than two intervals after the one before it."""


class Meter:
    """Measures fresh frames. Not thread-safe."""

    def __init__(self) -> None:
        self._latencies_ms: deque[tuple[int, float]] = deque()
        self._fresh_ns: deque[int] = deque()
        self._ready_ns: int | None = None
        self._ttff_ms: float | None = None
        self._gaps = 0

    def ready(self, ready_ns: int) -> None:
        """The worker takes frames from `ready_ns` on; only the first call counts."""
        if self._ready_ns is None:
            self._ready_ns = ready_ns

    def fresh(self, meta: FrameMeta, now: int, interval_ns: int) -> None:
        """A frame that was not shown before is on the output since `now`."""
        self._latencies_ms.append((now, (now - meta.source_capture_ts_ns) / NS_PER_MS))
        while self._latencies_ms[0][0] < now - LATENCY_WINDOW_NS:
            self._latencies_ms.popleft()
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
        latency = Percentiles()
        if self._latencies_ms:
            values = np.percentile([ms for _, ms in self._latencies_ms], [50, 95, 99])
            latency = Percentiles(*(round(float(value), 2) for value in values))
        return PresenterStats(counts, round(fps, 2), latency, self._ttff_ms, self._gaps)


class Presenter:
    """Takes frames from the work ring and publishes them on the output ring when they are due.

    Owns both ring ends and one thread. Why a thread of the daemon and not a process: nothing here
    can crash with the model (no torch), its copies are numpy's and release the GIL, and freeze
    acts within one frame with no message to send. Why a thread and not a task: a task would wait
    for whatever else the loop does, and frames are due to the millisecond.
    """

    def __init__(
        self,
        reader: FrameReader,
        writer: FrameWriter,
        output_fps: float,
        on_failure: Callable[[RingError], None],
        dry: FrameReader,
    ) -> None:
        """`on_failure` is called from the thread when the output ring cannot be written.

        `dry` reads the input ring, and does so only while its pictures are needed.
        """
        self._reader = reader
        self._dry = dry
        self._writer = writer
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._playout = Playout(round(NS_PER_S / output_fps) if output_fps else None)
        self._meter = Meter()
        self._wanted = Params()
        self._mix = OutputMix(self._wanted)  # the thread's own
        self._last: Frame | None = None
        self._has_dry = False
        self._bell = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="presenter", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be new frames in the work ring."""
        self._bell.set()

    def play(self, params: Params) -> None:
        """The output follows these from its next frame on, which comes at once.

        Of them: freeze, blackout, mix, panicked, safe and panic_s.
        """
        self._wanted = params
        self._bell.set()

    def newest(self) -> Frame | None:
        """The frame on the output, not to be written to; None = there was none yet."""
        return self._last

    def worker_ready(self, ready_ns: int) -> None:
        """A worker takes frames from `ready_ns` on."""
        with self._lock:
            self._meter.ready(ready_ns)

    def stats(self) -> PresenterStats:
        with self._lock:
            return self._meter.stats(self._playout.counts, now_ns())

    def close(self) -> None:
        """The thread has ended and both rings are closed."""
        self._is_closing = True
        self._bell.set()
        self._thread.join()
        self._reader.close()
        self._dry.close()
        self._writer.close()

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._turn()
        except RingError as error:
            self._on_failure(error)

    def _turn(self) -> None:
        self._bell.clear()
        while (frame := self._reader.read_next()) is not None:
            with self._lock:
                self._playout.offer(frame)
        now = now_ns()
        if self._wanted is not self._mix.params:
            self._mix.play(self._wanted, now)
        needs_dry = self._read_dry(now)
        lacks_dry = self._lacks_dry(now)
        if not lacks_dry:
            self._show(now)
        self._writer.heartbeat()
        wait_s = DRY_POLL_S if lacks_dry else self._wait_s(needs_dry)
        if wait_s > 0:
            self._bell.wait(wait_s)

    def _show(self, now: int) -> None:
        """What is due is on the output."""
        with self._lock:
            self._playout.freeze(self._mix.params.freeze)
            shown = self._playout.decide(now)
            if shown is None and self._has_new_look(now) and now >= self._again_ns():
                shown = self._playout.again(now)
        if shown is not None:
            self._publish(shown, self._mix.compose(shown.frame, now))

    def _has_new_look(self, now: int) -> bool:
        """What is done to the picture on the output differs from when it was published."""
        return self._last is not None and (self._mix.is_changed or self._mix.is_fading(now))

    def _again_ns(self) -> int:
        """When it may be published once more: not before half of the cadence."""
        published_ns = self._last.meta.publish_ts_ns if self._last is not None else 0
        regular_ns = published_ns + self._playout.interval_ns // 2
        return max(regular_ns, self._playout.quiet_until_ns)

    def _wait_s(self, needs_dry: bool) -> float:
        with self._lock:
            next_ns = self._playout.next_ns()
        now = now_ns()
        if self._has_new_look(now):
            again_ns = self._again_ns()
            next_ns = again_ns if next_ns is None else min(next_ns, again_ns)
        longest_s = DRY_POLL_S if needs_dry else LONGEST_WAIT_S
        return longest_s if next_ns is None else min((next_ns - now) / NS_PER_S, longest_s)

    def _read_dry(self, now: int) -> bool:
        """Input frames while they are needed, for pictures of the output's size; whether they are.

        None before the first picture is on the output. For a lock-step frame those up to its own.
        """
        wanted = self._playout.next_lockstep
        like = wanted or self._last
        needs_dry = like is not None and self._mix.needs_dry(now)
        if wanted is not None and needs_dry:
            self._read_dry_of(wanted, now)
        elif like is not None and needs_dry and now >= self._playout.quiet_until_ns:
            size = Size(like.meta.width, like.meta.height)
            read = self._dry.read_next if self._has_dry else self._dry.read_newest
            while (frame := read()) is not None:
                self._mix.offer(frame, size, now)
                read = self._dry.read_next
        elif self._has_dry and not needs_dry:
            self._mix.forget_dry()
        self._has_dry = needs_dry
        return needs_dry

    def _read_dry_of(self, styled: Frame, now: int) -> None:
        """Nothing that a render has in the ring is passed over, and nothing taken too early."""
        size = Size(styled.meta.width, styled.meta.height)
        while not self._mix.has_dry_of(styled.meta) and (frame := self._dry.read_next()):
            self._mix.offer(frame, size, now)

    def _lacks_dry(self, now: int) -> bool:
        """The next lock-step frame waits for its input, which the reader has not found yet."""
        wanted = self._playout.next_lockstep
        if wanted is None or not self._mix.lacks(wanted.meta, now):
            return False
        return now - wanted.meta.publish_ts_ns < DRY_PATIENCE_NS

    def _publish(self, shown: Shown, picture: Picture) -> None:
        meta = replace(shown.frame.meta, present_ts_ns=0, dropped_before=0)
        if shown.turn_of is not None:
            meta = replace(
                meta,
                flags=shown.turn_of.flags,
                capture_ts_ns=shown.turn_of.capture_ts_ns,
                source_frame=shown.turn_of.source_frame,
                source_capture_ts_ns=shown.turn_of.source_capture_ts_ns,
            )
        if not shown.is_fresh:
            meta = replace(meta, flags=meta.flags | FrameFlags.REPEATED)
        self._writer.publish(picture, meta)
        now = now_ns()
        self._last = Frame(replace(meta, publish_ts_ns=now), picture)
        if shown.is_fresh:
            with self._lock:
                self._meter.fresh(meta, now, self._playout.interval_ns)
