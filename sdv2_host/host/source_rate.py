"""How many frames per second a source gives. Pure: by the times in the frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S
from sdv2_host.types import FrameMeta

NUM_FRAMES = 17
"""Looked at: half a second at 30 fps, past which a change of rate is followed whole."""
MIN_FRAMES = 4
STALL_GAPS = 4.0
"""A gap so many times the usual one is a pause: the rate before it holds until frames after it
say otherwise."""


class _Seen(NamedTuple):
    number: int
    time_ns: int


@dataclass(slots=True)
class SourceRate:
    """Lifetime of the fields: a source, `fps` until the next one says otherwise."""

    fps: float = 0.0
    """0 = not known yet."""
    _seen: deque[_Seen] = field(default_factory=lambda: deque(maxlen=NUM_FRAMES))

    @property
    def newest_ns(self) -> int:
        """When the newest frame came; 0 = none did."""
        return self._seen[-1].time_ns if self._seen else 0

    def push(self, meta: FrameMeta) -> None:
        """The frame is the newest. Missed ones are known by the numbers."""
        newest = _Seen(meta.frame, meta.publish_ts_ns)
        if self._seen and not self._follows(newest):
            self._seen.clear()
        self._seen.append(newest)
        if len(self._seen) >= MIN_FRAMES:
            self.fps = NS_PER_S / self._gap_ns(newest)

    def _follows(self, newest: _Seen) -> bool:
        last = self._seen[-1]
        num_frames, gap_ns = newest.number - last.number, newest.time_ns - last.time_ns
        if num_frames <= 0 or gap_ns <= 0:  # another source, or one without times
            return False
        return len(self._seen) == 1 or gap_ns <= STALL_GAPS * num_frames * self._gap_ns(last)

    def _gap_ns(self, newest: _Seen) -> float:
        first = self._seen[0]
        return (newest.time_ns - first.time_ns) / (newest.number - first.number)
