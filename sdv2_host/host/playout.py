"""What the output shows at a given time. Pure: the caller brings frames and the clock."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.types import Frame, FrameMeta

LATE_FRAMES = 4
"""More due frames than this (a chunk) are history: the newest is shown and the others skipped."""
SMOOTHING = 0.2
DEFAULT_INTERVAL_NS = 33 * NS_PER_MS
MAX_INTERVAL_NS = 500 * NS_PER_MS
MIN_INTERVAL_NS = 1 * NS_PER_MS
FIRST_REPEAT_NS = 50 * NS_PER_MS
"""A frame this late (or two intervals) is missing: the last one is shown again."""
IDLE_AFTER_NS = NS_PER_S
IDLE_INTERVAL_NS = 100 * NS_PER_MS
"""Repeats after a second without frames: enough to look alive, a third of the copying."""
LOCKSTEP_QUIET_NS = 2 * NS_PER_S
"""After a lock-step frame nothing is shown again for so long: each repeat would take the slot of a
frame from a reader that waits for every one and was held up."""


CATCH_UP_NS = 10 * NS_PER_S
"""The next worker's pictures have so long to become newer than those of the one before: longer
than an engine is late, shorter than a source whose clock was set back is worth waiting for."""


class Shown(NamedTuple):
    frame: Frame
    is_fresh: bool
    """False: the same picture as before, or one of an input frame that was shown already."""
    turn_of: FrameMeta | None = None
    """What the picture of `frame` is shown as, where that is not its own: the lock-step frame that
    a held picture answers, or the newest frame that was shown before an older one."""


class PlayoutCounts(NamedTuple):
    """Since the start of the process."""

    fresh: int
    repeated: int
    skipped: int
    """Frames that came too late to be shown. What an output of fewer frames leaves out is none."""


class Playout:
    """Paces frames by their due times, repeats the last one when none is due, holds on freeze.

    With `tick_ns` the output follows its own clock and shows the newest due frame at each tick;
    without, each frame is shown when it is due. Lock-step frames go past all that: each is shown
    once, in order, at once.

    Fields, all per process: `_pending` frames not shown yet, in order; `_held` the picture on the
    output, `_held_as` what it is shown as; `newest` what was shown last as fresh; `_interval_ns`
    smoothed distance of due times; `num_due` pictures that were shown, or left out, because they
    were due: each is a sign of life of who makes them; the last times of showing; until when
    nothing is shown again; until when older frames than the newest are no fresh ones; counts.
    """

    def __init__(self, tick_ns: int | None = None) -> None:
        self._tick_ns = tick_ns
        self._pending: deque[Frame] = deque()
        self._held: Frame | None = None
        self._held_as: FrameMeta | None = None
        self.newest: FrameMeta | None = None
        self.num_due = 0
        self._catch_up_until_ns: int | None = None
        self._is_frozen = False
        self._interval_ns = tick_ns or DEFAULT_INTERVAL_NS
        self._offered_due_ns = 0
        self._fresh_ns = 0
        self._shown_ns = 0
        self._next_tick_ns = 0
        self._quiet_until_ns = 0
        self._counts = [0, 0, 0]

    @property
    def counts(self) -> PlayoutCounts:
        return PlayoutCounts(*self._counts)

    @property
    def interval_ns(self) -> int:
        """Distance of two frames on the output, smoothed."""
        return self._interval_ns

    @property
    def quiet_until_ns(self) -> int:
        """Before this the picture on the output is not to be shown again; 0 = at any time."""
        return self._quiet_until_ns

    @property
    def next_lockstep(self) -> Frame | None:
        """The lock-step frame that is shown next: at once."""
        return next((frame for frame in self._pending if frame.is_lockstep), None)

    @property
    def held(self) -> Frame | None:
        """The picture on the output."""
        return self._held

    @property
    def is_frozen(self) -> bool:
        return self._is_frozen

    @property
    def fresh_ns(self) -> int:
        """When a fresh frame was shown last, 0 = never."""
        return self._fresh_ns

    @property
    def is_catching_up(self) -> bool:
        """Older pictures than the newest may be shown; see `begin_catch_up`."""
        return self._catch_up_until_ns is not None

    def hold(self, frame: Frame) -> None:
        """This is the picture on the output from now on."""
        self._held = frame

    def take_pending(self) -> list[Frame]:
        """What was offered and not shown yet, which will not be shown."""
        pending = list(self._pending)
        self._pending.clear()
        return pending

    def begin_catch_up(self, now: int) -> None:
        """Other pictures are offered from now on. Until one is of a newer input frame than was
        shown, they are shown but are no fresh ones: the output never goes back. Lock-step frames
        that were answered are not answered again."""
        self._catch_up_until_ns = now + CATCH_UP_NS

    def freeze(self, is_frozen: bool) -> None:
        """From now on the picture is held, or moves again. Frames go on being consumed."""
        self._is_frozen = is_frozen

    def offer(self, frame: Frame) -> None:
        """The frame waits until it is due."""
        if frame.is_lockstep and self._was_answered(frame.meta):
            return
        due_ns = frame.meta.present_ts_ns
        gap_ns = due_ns - self._offered_due_ns
        if self._tick_ns is None and self._offered_due_ns and gap_ns > 0:
            gap_ns = min(max(gap_ns, MIN_INTERVAL_NS), MAX_INTERVAL_NS, 2 * self._interval_ns)
            self._interval_ns += round(SMOOTHING * (gap_ns - self._interval_ns))
        self._offered_due_ns = due_ns
        self._pending.append(frame)

    def _was_answered(self, lockstep: FrameMeta) -> bool:
        """Whether the worker before has shown it. Not to be known of a render whose clock is behind
        the last source's: it is answered once the time to catch up is over."""
        until_ns = self._catch_up_until_ns
        if until_ns is None or lockstep.publish_ts_ns > until_ns:
            return False
        return not is_newer(lockstep, self.newest)

    def decide(self, now: int) -> Shown | None:
        """What to publish at `now`, or None if the output stays as it is."""
        if self.next_lockstep is not None:
            shown: Shown | None = self._show_lockstep(now)
        else:
            shown = self._decide_tick(now) if self._tick_ns else self._decide_due(now)
        if shown is not None:
            self._shown_ns = now
            self._held = shown.frame
            if shown.is_fresh:
                self._fresh_ns = now
                self._held_as = shown.turn_of
                self.newest = shown.turn_of or shown.frame.meta
                self._counts[0] += 1
            else:
                self._counts[1] += 1
        return shown

    def again(self, now: int) -> Shown | None:
        """The picture on the output once more, because what is done to it changed."""
        if self._held is None:
            return None
        self._shown_ns = now
        self._counts[1] += 1
        return Shown(self._held, False, self._held_as)

    def next_ns(self) -> int | None:
        """When `decide` should be asked again; None = when a frame is offered."""
        if self.next_lockstep is not None:
            return 0
        if self._tick_ns:
            return self._next_tick_ns
        due_ns = self._pending[0].meta.present_ts_ns if self._pending else None
        if self._held is None or due_ns is None:
            return due_ns if self._held is None else self._repeat_ns()
        return min(max(due_ns, self._earliest_ns()), self._repeat_ns())

    def _show_lockstep(self, now: int) -> Shown:
        """The next lock-step frame; what waits before it is history."""
        while not self._pending[0].is_lockstep:
            self._drop(1)
            self._counts[2] += 1
        frame = self._pending.popleft()
        self.num_due += 1
        self._catch_up_until_ns = None
        self._quiet_until_ns = now + LOCKSTEP_QUIET_NS
        if self._is_frozen and self._held is not None:
            return Shown(self._held, True, frame.meta)
        return Shown(frame, True)

    def _decide_due(self, now: int) -> Shown | None:
        num_due = self._num_due(now)
        if self._is_frozen and self._held is not None:
            self._drop(num_due)
            num_due = 0
        elif num_due > LATE_FRAMES:
            self._counts[2] += num_due - 1
            self._drop(num_due - 1)
            num_due = 1
        if num_due and now >= self._earliest_ns():
            return self._show_ordinary(now)
        if self._held is not None and now >= self._repeat_ns():
            return Shown(self._held, False, self._held_as)
        return None

    def _decide_tick(self, now: int) -> Shown | None:
        assert self._tick_ns is not None, "only with an own clock"
        if now < self._next_tick_ns:
            return None
        self._next_tick_ns += self._tick_ns
        if self._next_tick_ns <= now:  # first tick, or the process was stopped for a while
            self._next_tick_ns = now + self._tick_ns
        num_due = self._num_due(now)
        if self._is_frozen and self._held is not None:
            self._drop(num_due)
            num_due = 0
        if num_due:
            self._drop(num_due - 1)
            return self._show_ordinary(now)
        if self._held is None or now < self._quiet_until_ns:
            return None
        return Shown(self._held, False, self._held_as)

    def _show_ordinary(self, now: int) -> Shown:
        self._quiet_until_ns = 0
        frame = self._pending.popleft()
        self.num_due += 1
        until_ns = self._catch_up_until_ns
        if until_ns is None or now > until_ns or is_newer(frame.meta, self.newest):
            self._catch_up_until_ns = None
            return Shown(frame, True)
        self._held_as = self.newest
        return Shown(frame, False, self._held_as)

    def _num_due(self, now: int) -> int:
        return sum(frame.meta.present_ts_ns <= now for frame in self._pending)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._pending.popleft()
        self.num_due += count

    def _earliest_ns(self) -> int:
        """Late frames follow each other at double speed, not all at once."""
        return self._fresh_ns + self._interval_ns // 2

    def _repeat_ns(self) -> int:
        """When the held picture is shown again if nothing else is."""
        return max(self._regular_repeat_ns(), self._quiet_until_ns)

    def _regular_repeat_ns(self) -> int:
        if self._is_frozen:
            return self._shown_ns + self._interval_ns
        if self._shown_ns == self._fresh_ns:
            return self._fresh_ns + max(2 * self._interval_ns, FIRST_REPEAT_NS)
        if self._shown_ns - self._fresh_ns > IDLE_AFTER_NS:
            return self._shown_ns + max(self._interval_ns, IDLE_INTERVAL_NS)
        return self._shown_ns + self._interval_ns


def is_newer(picture: FrameMeta, other: FrameMeta | None) -> bool:
    """Whether it was made from a newer input frame. Numbers alone would not tell: another source
    begins at 1 again."""
    if other is None:
        return True
    return _input_of(picture) > _input_of(other)


def _input_of(picture: FrameMeta) -> tuple[int, int]:
    return picture.source_capture_ts_ns, picture.source_frame
