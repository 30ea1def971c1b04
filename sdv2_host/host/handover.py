"""From the pictures of one worker to those of the next, by a cross-fade. Pure, clock given.

Both workers style the same input. At first the next one's pictures wait, until those of the one in
use have come to the same input frame: so none is left out and none comes twice. Then the next one's
pictures set the pace and the size, and the old ones, enlarged to that size, move on beneath them
and fade. The new size holds from the first of these pictures: there the two still look the same,
and whoever takes the output gets its new memory before the new picture is seen, not after.

Lock-step frames are never faded: from the meeting point on the next worker answers them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from sdv2_host.clock import NS_PER_S
from sdv2_host.host.output_mix import Picture, mixed, resized
from sdv2_host.host.playout import Playout, is_newer
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size

PATIENCE_NS = 2 * NS_PER_S
"""A worker in use that shows nothing fresh for so long is not waited for: there is no input, or it
is held."""
LOCKSTEP_PATIENCE_NS = 30 * NS_PER_S
"""The same in a render, whose frames may come slowly: it may owe some that the other one has not
seen. Whoever renders slower than that gives a frame up."""


class Handover:
    """Fields, all per change of workers: the next one's pictures that wait; those of the old one
    that are not due yet, and the one that is, beneath the fade; when the fade began, None = not
    yet; the picture that was on the output before it; the mixture shown last, which a freeze
    holds."""

    def __init__(self, seconds: float, begin_ns: int) -> None:
        """`seconds` of the fade; 0 = a cut. `begin_ns` is when the next worker was ready."""
        self._seconds = seconds
        self._ordered_ns = begin_ns
        self._waiting: list[Frame] = []
        self._has_met = False
        self._is_cut = False
        self._old: deque[Frame] = deque()
        self._beneath: Frame | None = None
        self._before: Frame | None = None
        self._fade_ns: int | None = None
        self._shown: Frame | None = None
        self._scaled: tuple[Frame, Size, Picture] | None = None

    @property
    def has_met(self) -> bool:
        """The next worker's pictures are those that are offered to the playout."""
        return self._has_met

    def cut(self) -> None:
        """The worker in use is gone: nothing of it is waited for."""
        self._is_cut = True

    def offer_old(self, frame: Frame, playout: Playout) -> None:
        """A picture of the worker in use."""
        if not self._has_met:
            playout.offer(frame)
        elif not frame.is_lockstep:
            self._old.append(frame)

    def offer_next(self, frame: Frame, playout: Playout) -> None:
        """A picture of the worker that was prepared."""
        if self._has_met:
            playout.offer(frame)
        else:
            self._waiting.append(frame)

    def advance(self, playout: Playout, now: int) -> bool:
        """The playout shows what it shall at `now`; True: the old worker is not needed any more."""
        if not self._has_met:
            if not self._meets(playout, now):
                return False
            self._meet(playout, now)
        if self._is_over(playout, now):
            if playout.is_frozen and self._shown is not None:
                playout.hold(self._shown)
            return True
        while self._old and self._old[0].meta.present_ts_ns <= now:
            self._beneath = self._old.popleft()
        return False

    def undo(self, playout: Playout, now: int) -> None:
        """The playout shows the pictures of the worker in use again."""
        if not self._has_met:
            return
        playout.take_pending()
        for frame in self._old:
            playout.offer(frame)
        playout.begin_catch_up(now)

    def share(self, now: int) -> float:
        """Of the next worker's picture: 0 as the fade begins, 1 at its end."""
        if self._fade_ns is None:
            return 0.0
        return min(1.0, (now - self._fade_ns) / (self._seconds * NS_PER_S))

    def compose(self, styled: Frame, now: int) -> Frame:
        """What to show at `now` in place of `styled`, the picture of the playout."""
        if not self._has_met or styled is self._before or styled.is_lockstep:
            return styled
        if self._fade_ns is None:
            self._fade_ns = now
        if self._beneath is None:
            return styled
        size = Size(styled.meta.width, styled.meta.height)
        beneath = self._scaled_to(size, self._beneath)
        self._shown = replace(styled, pixels=mixed(beneath, styled.pixels, self.share(now)))
        return self._shown

    def _scaled_to(self, size: Size, frame: Frame) -> Picture:
        """The same picture is asked for once per output frame; passthrough's may change its size
        in mid-fade."""
        scaled = self._scaled
        if scaled is None or scaled[0] is not frame or scaled[1] != size:
            self._scaled = scaled = frame, size, resized(frame.pixels, size, frame.meta.alpha)
        return scaled[2]

    def _meets(self, playout: Playout, now: int) -> bool:
        """Whether all that the next worker leaves out was shown, or will never be."""
        if self._is_cut:
            return True
        last_ns = max(playout.fresh_ns, self._ordered_ns)
        is_owed = self._may_owe_lockstep(playout.newest)
        if now - last_ns > (LOCKSTEP_PATIENCE_NS if is_owed else PATIENCE_NS):
            return True
        # Any, not only the first: the source's clock may have been set back since that one.
        return any(not is_newer(frame.meta, playout.newest) for frame in self._waiting)

    def _may_owe_lockstep(self, newest: FrameMeta | None) -> bool:
        """Whether a render is going on, in which the worker in use may have pictures to come."""
        is_lockstep = newest is not None and FrameFlags.LOCKSTEP in newest.flags
        return is_lockstep or any(frame.is_lockstep for frame in self._waiting)

    def _meet(self, playout: Playout, now: int) -> None:
        self._has_met = True
        self._is_cut |= not self._waiting
        self._before = self._beneath = playout.held
        self._old.extend(frame for frame in playout.take_pending() if not frame.is_lockstep)
        playout.begin_catch_up(now)
        for frame in self._waiting:
            playout.offer(frame)
        self._waiting.clear()

    def _is_over(self, playout: Playout, now: int) -> bool:
        """The fade is done, or there is nothing to fade."""
        if playout.is_frozen:
            return True
        if self._before is None or self._before.is_lockstep or playout.next_lockstep is not None:
            return True
        if self._seconds <= 0 or self._is_cut:
            return True
        return self.share(now) >= 1
