"""Whether the model owes pictures and they do not come. Pure, clock given.

It is seen from the output's side: input frames come in and no picture comes out. So a worker that
hangs is noticed long before the supervisor may declare it dead, and a source that stops, which is
no fault of the model, is none here.
"""

from __future__ import annotations

from collections import deque

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.params import Params

INPUT_LIVE_NS = NS_PER_S
"""An input that has not moved for so long has stopped: nothing more can be made of it."""
LONGEST_WAIT_NS = 60 * NS_PER_S
"""The most that is taken for usual: chunks of the largest model on a CPU take half of it."""
KEPT_WAITS = 32
"""Pictures whose times tell what is usual: eight chunks of four, for an engine that is slow."""


class Absence:
    """Fields, per process: whether a worker is there, since when none is, how many frames it may
    lag and what its longest step takes; how many pictures were due so far; since when, and by how
    many input frames, one is owed; the number of the newest input frame and when it came; what
    pictures took lately; whether they are missing, until the next one comes."""

    def __init__(self) -> None:
        self._is_there = True
        self._lost_ns: int | None = None
        self._delay_frames = 0
        self._step_ns = 0
        self._num_due = 0
        self._owed_ns: int | None = None
        self._num_owed = 0
        self._input = 0
        self._input_ns = 0
        self._waits_ns: deque[int] = deque(maxlen=KEPT_WAITS)
        self._is_missing = False

    def worker_came(self, delay_frames: int, step_ms: float) -> None:
        """A worker takes frames from now on. Its pictures come after at most `delay_frames`
        further ones; a step takes up to `step_ms`, 0 = not known."""
        self._is_there = True
        self._delay_frames = delay_frames
        self._step_ns = round(step_ms * NS_PER_MS)
        if self._owed_ns is None:
            self._lost_ns = None

    def worker_left(self, now: int) -> None:
        """There is none: it died, or is started anew."""
        self._is_there = False
        if self._lost_ns is None:
            self._lost_ns = now

    def input_is(self, number: int, now: int) -> None:
        """The newest frame of the input has this number; 0 = there is no input."""
        if number == self._input:
            return
        if number:
            self._input_ns = now
            self._num_owed += number - self._input if number > self._input else number
            if self._owed_ns is None:
                self._owed_ns = now
        self._input = number

    def look(self, num_due: int, params: Params, now: int) -> bool:
        """Whether pictures are missing; `num_due` of them were due so far.

        Once they are, they are until the next one is due: the input may stop meanwhile. Never
        before the first one, and not while a pause or a freeze holds the output at a person's wish.
        """
        if num_due != self._num_due:
            self._num_due = num_due
            self._came(now)
        if params.pause:
            self._begin_anew(now)
        elif self._num_due and self._is_over(params, now):
            self._is_missing = True
        return self._is_missing and not params.freeze

    def _came(self, now: int) -> None:
        if self._owed_ns is not None and self._lost_ns is None:
            self._waits_ns.append(min(now - self._owed_ns, LONGEST_WAIT_NS))
        self._begin_anew(now)

    def _begin_anew(self, now: int) -> None:
        """Nothing is owed from before now."""
        self._owed_ns = None
        self._num_owed = 0
        # What a dead worker has left in its ring comes too, but no more.
        self._lost_ns = None if self._is_there else now
        self._is_missing = False

    def _is_over(self, params: Params, now: int) -> bool:
        """The time that the output holds its last picture for."""
        hold_ns = round(params.hold_s * NS_PER_S)
        if not self._is_there and self._lost_ns is not None:
            return now - self._lost_ns >= hold_ns
        if self._owed_ns is None or self._num_owed <= self._delay_frames:
            return False
        if now - self._input_ns > INPUT_LIVE_NS:
            return False
        return now - self._owed_ns >= hold_ns + self._usual_ns(params)

    def _usual_ns(self, params: Params) -> int:
        """What a picture may take without anything being wrong."""
        longest_ns = max(self._step_ns, *self._waits_ns, 0)
        if not params.target_fps:
            return longest_ns
        # Fewer frames are taken than come: a chunk of them takes so long to fill.
        return longest_ns + round((self._delay_frames + 1) / params.target_fps * NS_PER_S)
