"""Lockstep: frame in, exactly that frame out, for renders. Pure but for the errand's event.

    frame k published with FrameFlags.LOCKSTEP -> the errand of frame k comes back with the picture
    of frame k - delay, or with none for the first `delay` frames.

A picture is known by two marks of the frame that it was made from, its number in the input ring
and its capture time: the number alone could be of a picture from before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.client.mailbox import Errand, Picture
from sdv2_host.types import Frame, FrameFlags


class Ground(NamedTuple):
    """What a lock-step stands on; another one ends it."""

    start: object
    """Which start of which host."""
    delay_frames: int


class Mark(NamedTuple):
    """What a picture says of the frame that it was made from."""

    source_frame: int
    source_capture_ts_ns: int


@dataclass(slots=True)
class Lockstep:
    """Per render. `unanswered` are the marks of the frames whose picture was not handed out yet,
    oldest first; `arrived` the pictures that came before they were due, by their mark."""

    ground: Ground
    num_sent: int = 0
    unanswered: deque[Mark] = field(default_factory=deque)
    arrived: dict[Mark, Frame] = field(default_factory=dict)
    is_out: bool = False
    """The newest frame was published and its errand is not back."""
    _capture_ts_ns: int = 0

    def send(self, errand: Errand, publish: Callable[[Picture, FrameFlags], int], now: int) -> bool:
        """Whether the frame was published."""
        # Never twice the same time, whatever the clock's steps are.
        capture_ts_ns = max(now, self._capture_ts_ns + 1)
        flags = FrameFlags.LOCKSTEP
        if not self.num_sent:
            flags |= FrameFlags.DISCONTINUITY
        number = publish(errand.picture._replace(capture_ts_ns=capture_ts_ns), flags)
        if number:
            self._capture_ts_ns = capture_ts_ns
            self.unanswered.append(Mark(number, capture_ts_ns))
            self.num_sent += 1
            self.is_out = True
        return bool(number)

    @property
    def next_frame(self) -> int:
        """Which frame's picture is handed out next, from 1 on."""
        return self.num_sent - len(self.unanswered) + 1

    def take(self, frame: Frame) -> None:
        """A picture came; it is kept if it was made from a frame of this lock-step."""
        meta = frame.meta
        mark = Mark(meta.source_frame, meta.source_capture_ts_ns)
        if FrameFlags.REPEATED not in meta.flags and mark in self.unanswered:
            self.arrived[mark] = frame

    def deliver(self, errand: Errand) -> bool:
        """Whether the errand went back: its picture is there, or none is due."""
        frame = None
        if len(self.unanswered) > self.ground.delay_frames:
            frame = self.arrived.pop(self.unanswered[0], None)
            if frame is None:
                return False
            self.unanswered.popleft()
        self.is_out = False
        errand.finish(frame)
        return True

    def why_not(self, ground: Ground | None) -> str:
        """Why the next picture cannot come any more; '' = it still can, or has."""
        if ground is None or ground.start != self.ground.start:
            return "the host went away, and with it what it had begun: render again"
        if ground.delay_frames != self.ground.delay_frames:
            return (
                f"pictures came {self.ground.delay_frames} frames late and now come "
                f"{ground.delay_frames}, because steps, size or engine changed: leave those alone "
                "and render again"
            )
        is_overtaken = self.unanswered and any(mark > self.unanswered[0] for mark in self.arrived)
        if is_overtaken and self.unanswered[0] not in self.arrived:
            return "a later picture came in its place: this computer was too busy, render again"
        return ""
