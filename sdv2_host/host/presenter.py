"""The output stage: owns the public output ring and never lets the picture stop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.host.absence import Absence
from sdv2_host.host.handover import Handover
from sdv2_host.host.meter import Meter, PresenterStats
from sdv2_host.host.output_mix import OutputMix, Picture, black
from sdv2_host.host.output_ring import RingEnd
from sdv2_host.host.playout import Playout, Shown
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size

log = logging.getLogger(__name__)
DRY_POLL_S = 0.005
"""While the input is shown; the ring has no bell."""
DRY_PATIENCE_NS = 500 * NS_PER_MS
"""A lock-step frame waits so long for the input that is to be mixed into it."""
FIRST_SIZE = Size(256, 256)
LONGEST_WAIT_S = 0.1
"""Readers want a sign of life ten times a second."""


class _Next(NamedTuple):
    """The worker that takes over."""

    reader: FrameReader
    handover: Handover
    on_done: Callable[[], None]


class Presenter:
    """Takes frames from the work ring and publishes them on the output ring when they are due.

    While a worker takes over from another it reads the rings of both.

    Owns the ring ends and one thread. Why a thread of the daemon and not a process: nothing here
    can crash with the model (no torch), its copies are numpy's and release the GIL, and freeze
    acts within one frame with no message to send. Why a thread and not a task: a task would wait
    for whatever else the loop does, and frames are due to the millisecond.
    """

    def __init__(
        self,
        reader: FrameReader,
        writer: RingEnd,
        output_fps: float,
        on_failure: Callable[[HostError], None],
        dry: FrameReader,
        first_size: Size = FIRST_SIZE,
    ) -> None:
        """`on_failure` is called from the thread when it ends by itself: the output ring cannot be
        written, or what must not happen has.

        `dry` reads the input ring, and does so only while its pictures are needed. `first_size` is
        of a panic that comes before any picture.
        """
        self._reader = reader
        self._dry = dry
        self._first_size = first_size
        self._writer = writer
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._playout = Playout(round(NS_PER_S / output_fps) if output_fps else None)
        self._meter = Meter()
        self._next: _Next | None = None
        self._withdrawn: deque[FrameReader] = deque()
        self._wanted = Params()
        self._absence = Absence()
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

        Of them: freeze, blackout, pause, mix, panicked, safe, panic_s, hold_s, target_fps and, for
        the next handing over, swap_s.
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

    def worker_came(self, delay_frames: int, step_ms: float) -> None:
        """See `Absence.worker_came`."""
        with self._lock:
            self._absence.worker_came(delay_frames, step_ms)

    def worker_left(self) -> None:
        """No worker makes pictures: the output holds its last one, then fades to the safe one."""
        with self._lock:
            self._absence.worker_left(now_ns())
        self._bell.set()

    def hand_over(self, reader: FrameReader, on_done: Callable[[], None]) -> None:
        """The pictures of this work ring come onto the output in place of those before.

        `on_done` is called from the thread once the ring before is not read any more. One at a
        time. Takes the reader over.
        """
        handover = Handover(self._wanted.swap_s, now_ns())
        with self._lock:
            assert self._next is None, "one at a time"
            self._next = _Next(reader, handover, on_done)
        self._bell.set()

    def cut(self) -> None:
        """Nothing more comes from the ring before the one that is handed over to."""
        with self._lock:
            if self._next is not None:
                self._next.handover.cut()
        self._bell.set()

    def withdraw(self) -> bool:
        """The output stays with the ring that it has. False: it has the other one already."""
        with self._lock:
            withdrawn, self._next = self._next, None
            if withdrawn is None:
                return False
            withdrawn.handover.undo(self._playout, now_ns())
            self._withdrawn.append(withdrawn.reader)  # the thread may be reading it
        self._bell.set()
        return True

    def stats(self) -> PresenterStats:
        with self._lock:
            stats = self._meter.stats(self._playout.counts, now_ns())
        return replace(stats, is_missing=self._mix.is_missing)

    def close(self) -> None:
        """The thread has ended and both rings are closed."""
        self._is_closing = True
        self._bell.set()
        self._thread.join()
        for reader in (self._reader, *self._withdrawn):
            reader.close()
        if self._next is not None:
            self._next.reader.close()
        self._dry.close()
        self._writer.close()

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._turn()
        except HostError as error:
            self._on_failure(error)
        except Exception as error:
            # A picture that stands still while everything else goes on would tell nobody why.
            log.exception("the thread that shows the pictures has ended")
            self._on_failure(WorkerError(f"the output has ended: {type(error).__name__}: {error}"))

    def _turn(self) -> None:
        self._bell.clear()
        while self._withdrawn:
            self._withdrawn.popleft().close()
        self._take_frames()
        now = now_ns()
        if self._wanted is not self._mix.params:
            self._mix.play(self._wanted, now)
        if self._mix.params.panicked and self._last is None:
            self._begin_without_model()
        self._look_for_pictures(now)
        needs_dry = self._read_dry(now)
        lacks_dry = self._lacks_dry(now)
        if not lacks_dry:
            self._show(now)
        self._writer.heartbeat()
        wait_s = DRY_POLL_S if lacks_dry else self._wait_s(needs_dry)
        if wait_s > 0:
            self._bell.wait(wait_s)

    def _begin_without_model(self) -> None:
        """The safe picture is shown over black, although no worker made one yet."""
        width, height = self._first_size
        blank = Frame(FrameMeta(width, height), black(np.empty((height, width, 4), np.uint8)))
        with self._lock:
            self._playout.hold(blank)
        self._last = blank

    def _take_frames(self) -> None:
        """What came is offered to the playout; a handing over that is done is told."""
        following = self._next
        frames = _all_of(self._reader)
        next_frames = _all_of(following.reader) if following is not None else []
        with self._lock:
            if following is None or self._next is not following:  # withdrawn meanwhile
                for frame in frames:
                    self._playout.offer(frame)
                return
            for frame in frames:
                following.handover.offer_old(frame, self._playout)
            for frame in next_frames:
                following.handover.offer_next(frame, self._playout)
            if not following.handover.advance(self._playout, now_ns()):
                return
            retired, self._reader, self._next = self._reader, following.reader, None
        retired.close()
        following.on_done()

    def _look_for_pictures(self, now: int) -> None:
        """Where the model owes some that do not come, the safe picture comes."""
        number = self._dry.peek(may_leave=not self._has_dry)
        with self._lock:
            self._absence.input_is(number, now)
            is_missing = self._absence.look(self._playout.num_due, self._mix.params, now)
        self._mix.miss(is_missing, now)

    def _show(self, now: int) -> None:
        """What is due is on the output."""
        with self._lock:
            self._playout.freeze(self._mix.params.freeze)
            shown = self._playout.decide(now)
            if shown is None and self._has_new_look(now) and now >= self._again_ns():
                shown = self._playout.again(now)
            following = self._next
            self._mix.keeps_past = following is not None or self._playout.is_catching_up
        self._look_for_pictures(now)
        if shown is not None:
            handed = following.handover.compose(shown.frame, now) if following else shown.frame
            self._publish(shown, self._mix.compose(handed, now))

    def _has_new_look(self, now: int) -> bool:
        """What is done to the picture on the output differs from when it was published."""
        following = self._next
        is_swapping = following is not None and following.handover.has_met
        is_moving = self._mix.is_changed or self._mix.is_fading(now) or is_swapping
        return self._last is not None and is_moving

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
        wanted = self._next_lockstep()
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
        wanted = self._next_lockstep()
        if wanted is None or not self._mix.lacks(wanted.meta, now):
            return False
        return now - wanted.meta.publish_ts_ns < DRY_PATIENCE_NS

    def _next_lockstep(self) -> Frame | None:
        with self._lock:
            return self._playout.next_lockstep

    def _publish(self, shown: Shown, picture: Picture) -> None:
        meta = replace(shown.frame.meta, present_ts_ns=0, dropped_before=0)
        if shown.turn_of is not None:
            meta = replace(
                meta,
                flags=shown.turn_of.flags,
                capture_ts_ns=shown.turn_of.capture_ts_ns,
                source_frame=shown.turn_of.source_frame,
                source_capture_ts_ns=shown.turn_of.source_capture_ts_ns,
                times=shown.turn_of.times,
            )
        if not shown.is_fresh:
            meta = replace(meta, flags=meta.flags | FrameFlags.REPEATED)
        self._writer.publish(picture, meta)
        now = now_ns()
        meta = replace(meta, publish_ts_ns=now)
        self._last = Frame(meta, picture)
        if shown.is_fresh:
            with self._lock:
                self._meter.fresh(meta, now, self._playout.interval_ns)


def _all_of(reader: FrameReader) -> list[Frame]:
    """What came since it was read last, oldest first."""
    frames = []
    while (frame := reader.read_next()) is not None:
        frames.append(frame)
    return frames
