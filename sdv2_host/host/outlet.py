"""From the engine to the work ring: a chunk's frames, each with the time it is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import RingError
from sdv2_host.host.in_flight import InFlight, Owed
from sdv2_host.host.matte import Plane, carried, cut_out, matte_of
from sdv2_host.host.output_mix import black
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.types import NOT_TOLD, Frame, FrameFlags, FrameMeta, StyledChunk

WORK_RING_SLOTS = 16
"""Three chunks of 4, and one being written: the presenter may be a chunk late without loss.

In lock-step no more than that many frames are under way: delay_frames + 1, which is 16 for a batch
of four steps.
"""

SMOOTHING = 0.3
"""Weight of the newest chunk in the frame interval."""
DRAIN = 0.25
"""Share of the lead given back at each chunk, so that one late chunk does not delay for ever."""
MAX_LEAD_FRAMES = 1.0
"""Latency that pacing may add, in frame intervals; past it the chunk is shown faster."""
MIN_GAP_FRAMES = 0.25
DEFAULT_INTERVAL_NS = 33 * NS_PER_MS
MIN_INTERVAL_NS = 1 * NS_PER_MS
MAX_INTERVAL_NS = 500 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Pacing:
    """What the next chunk's due times depend on. Lifetime: a session."""

    previous_due_ns: int = 0
    previous_capture_ns: int = 0
    previous_chunk_ns: int = 0
    interval_ns: int | None = None
    """Smoothed; None until two chunks were seen."""


class Paced(NamedTuple):
    due_ns: list[int]
    pacing: Pacing


def pace(pacing: Pacing, now: int, capture_ts_ns: list[int]) -> Paced:
    """When each frame of a chunk that is done at `now` should be shown, and the state after it.

    Frames are one interval apart. The interval is the input time that a chunk stands for, divided
    by its frames: that is the source's interval while the engine keeps up, and the chunk period
    over its frames when it does not. The first frame continues the previous chunk's rhythm where
    that is less than MAX_LEAD_FRAMES away, and is due at once where the chunk came late.
    """
    count = len(capture_ts_ns)
    newest_ns = capture_ts_ns[-1]
    interval_ns = _interval(pacing, now, newest_ns, count)
    spacing_ns = interval_ns
    start_ns = now
    lead_ns = pacing.previous_due_ns + interval_ns - now
    if pacing.previous_due_ns and lead_ns > 0:
        allowed_ns = min(lead_ns * (1.0 - DRAIN), MAX_LEAD_FRAMES * interval_ns)
        earliest_ns = pacing.previous_due_ns + int(MIN_GAP_FRAMES * interval_ns)
        start_ns = max(now + int(allowed_ns), earliest_ns)
        if start_ns - now > MAX_LEAD_FRAMES * interval_ns:
            # Still busy with frames paced for a slower engine: catch up at double speed.
            spacing_ns = interval_ns // 2
    due_ns = [start_ns + index * spacing_ns for index in range(count)]
    is_first = not pacing.previous_chunk_ns
    known_ns = None if is_first else interval_ns
    return Paced(due_ns, Pacing(due_ns[-1], newest_ns, now, known_ns))


def _interval(pacing: Pacing, now: int, newest_capture_ns: int, count: int) -> int:
    """The frame interval after this chunk, smoothed."""
    if not pacing.previous_chunk_ns:
        return DEFAULT_INTERVAL_NS
    measured_ns = newest_capture_ns - pacing.previous_capture_ns
    if measured_ns <= 0 or not pacing.previous_capture_ns:  # the source gives no capture times
        measured_ns = now - pacing.previous_chunk_ns
    per_frame_ns = min(max(measured_ns // count, MIN_INTERVAL_NS), MAX_INTERVAL_NS)
    if pacing.interval_ns is None:
        return per_frame_ns
    # Doubling at most: a source that paused for seconds has not become slow.
    per_frame_ns = min(per_frame_ns, 2 * pacing.interval_ns)
    return round(pacing.interval_ns + SMOOTHING * (per_frame_ns - pacing.interval_ns))


class Outlet:
    """Publishes styled chunks on the work ring. Owns the writer; never waits."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._pacing = Pacing()
        self._in_flight = InFlight()
        self._mattes: deque[Plane | None] = deque()
        self._newest: Frame | None = None
        self.num_lost = 0
        """Input frames whose pictures are in no ring: their session was over before, or there is
        no room for them."""
        self.problem = ""
        """Why the newest pictures are not in the ring, for a person; '' = they are."""

    def __enter__(self) -> Outlet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    @property
    def num_in_flight(self) -> int:
        """Input frames whose pictures the engine owes."""
        return len(self._in_flight)

    def expect(self, sources: list[Frame], num_repeated: int = 0) -> None:
        """The engine is given these input frames, the last so many of them once more. It may return
        their pictures chunks later, in order; those of frames once more are not shown."""
        self._in_flight.give(sources, now_ns(), num_repeated)
        self._mattes.extend(matte_of(frame) for frame in sources)

    def publish(self, styled: StyledChunk, version: int) -> None:
        """The chunk's frames are in the ring, with what their stages took, tagged with the version
        of their parameters, each as transparent as its source.

        Those made from lock-step frames say so, and are due at once. Where there is no room for
        pictures of their size they are lost, and `problem` says why: later ones may be smaller.

        Where the engine ends the session, what it owes beside them is lost: the output holds its
        picture. Each lock-step frame among it is answered with that, as its client waits for one.
        """
        owed = self._in_flight.take(styled)
        if owed:
            self._show(styled, owed, version)
        if styled.ends_session:
            self._answer(styled.frames.shape[1:], version)
            self.restart()

    def _show(self, styled: StyledChunk, owed: list[Owed], version: int) -> None:
        mattes = [self._mattes.popleft() for _ in owed]
        pictures = styled.frames if styled.carries_alpha else cut_out(styled.frames, mattes)
        fresh = [index for index, one in enumerate(owed) if not one.is_repeated]
        if not fresh:
            return
        pictures, owed = [pictures[index] for index in fresh], [owed[index] for index in fresh]
        made_ns = now_ns()
        if any(FrameFlags.LOCKSTEP in one.source.flags for one in owed):
            due_ns, self._pacing = [0] * len(owed), Pacing()
        else:
            captures = [one.source.captured_ns for one in owed]
            due_ns, self._pacing = pace(self._pacing, made_ns, captures)
        metas = [
            FrameMeta(
                width=pixels.shape[1],
                height=pixels.shape[0],
                alpha=carried(one.source.alpha),
                flags=one.source.flags & FrameFlags.LOCKSTEP,
                capture_ts_ns=made_ns,
                source_frame=one.source.frame,
                source_capture_ts_ns=one.source.captured_ns,
                user_tag=version,
                present_ts_ns=due,
                times=one.times,
            )
            for pixels, one, due in zip(pictures, owed, due_ns, strict=True)
        ]
        if self._publish(pictures, metas):
            self._newest = Frame(metas[-1], pictures[-1])
        else:
            self.num_lost += len(metas)

    def _publish(self, pictures: Iterable[NDArray[np.uint8]], metas: list[FrameMeta]) -> bool:
        """Whether all of them are in the ring; where it cannot grow to their size, none is."""
        self.problem = ""
        try:
            for pixels, meta in zip(pictures, metas, strict=True):
                self._writer.publish(pixels, meta)
        except RingError as error:
            self.problem = f"pictures of {metas[0].width}x{metas[0].height} are not shown: {error}"
        return not self.problem

    def _answer(self, shape_HWC: tuple[int, ...], version: int) -> None:
        """The newest picture again, black if there was none, for each lock-step frame in flight."""
        sources = [
            source for source in self._in_flight.sources if FrameFlags.LOCKSTEP in source.flags
        ]
        if not sources:
            return
        held = self._newest
        if held is None:
            height, width, _ = shape_HWC
            held = Frame(FrameMeta(width, height), black(np.empty(shape_HWC, np.uint8)))
        metas = [
            replace(
                held.meta,
                flags=FrameFlags.LOCKSTEP,
                capture_ts_ns=now_ns(),
                source_frame=source.frame,
                source_capture_ts_ns=source.captured_ns,
                user_tag=version,
                present_ts_ns=0,
                times=NOT_TOLD,
            )
            for source in sources
        ]
        self._publish([held.pixels] * len(metas), metas)

    def restart(self) -> None:
        """The next chunk begins a session: frames in flight are forgotten, the rhythm is new."""
        self.num_lost += len(self._in_flight.sources)
        self._in_flight.clear()
        self._mattes.clear()
        self._pacing = Pacing(previous_due_ns=self._pacing.previous_due_ns)

    def heartbeat(self) -> None:
        """Readers see the ring live although nothing new came."""
        self._writer.heartbeat()
