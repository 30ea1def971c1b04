"""How many frames per second a source gives. Pure: by the times in the frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.types import FrameMeta

NUM_FRAMES = 17
"""Looked at: half a second at 30 fps, past which a change of rate is followed whole."""
MIN_FRAMES = 4
MIN_NS = 40 * NS_PER_MS
"""Fewer frames than `NUM_FRAMES` in less time may be a burst."""
STALL_GAPS = 4.0
"""A gap so many times the usual one is a pause: the rate before it holds until frames after it
say otherwise."""
BURST_NS = 250 * NS_PER_MS
"""Frames between two pauses that come within this are a burst: of a network, or of a program that
catches up."""
NUM_BURSTS = 9
MIN_BURSTS = 3
"""Beginnings in a row: then their rate counts, and not that of the frames within a burst."""


class _Seen(NamedTuple):
    number: int
    time_ns: int


@dataclass(slots=True)
class SourceRate:
    """Lifetime of the fields: a source, `fps` until the next one says otherwise.

    Frames since the last pause; frames after pauses, the last of them and those before it that
    have only bursts between them.
    """

    fps: float = 0.0
    """0 = not known yet."""
    _seen: deque[_Seen] = field(default_factory=lambda: deque(maxlen=NUM_FRAMES))
    _begins: deque[_Seen] = field(default_factory=lambda: deque(maxlen=NUM_BURSTS))

    @property
    def newest_ns(self) -> int:
        """When the newest frame came; 0 = none did."""
        return self._seen[-1].time_ns if self._seen else 0

    @property
    def has_bursts(self) -> bool:
        """As far as the newest frame tells."""
        if len(self._begins) < MIN_BURSTS:
            return False
        return self._seen[-1].time_ns - self._begins[-1].time_ns <= BURST_NS

    def push(self, meta: FrameMeta, is_cut: bool = False) -> None:
        """The frame is the newest. Missed ones are known by the numbers, which another writer,
        `is_cut`, has its own of."""
        newest = _Seen(meta.frame, meta.publish_ts_ns)
        is_another = is_cut or not self._seen or not _is_later(self._seen[-1], newest)
        if is_another or self._is_after_pause(newest):
            if is_another or not self._is_after_burst(newest):
                self._begins.clear()
            self._begins.append(newest)
            self._seen.clear()
        self._seen.append(newest)
        if self.has_bursts:
            self.fps = _fps(self._begins[0], self._begins[-1])
        elif self._is_known(newest):
            self.fps = _fps(self._seen[0], newest)

    def _is_after_pause(self, newest: _Seen) -> bool:
        if len(self._seen) == 1:
            return False
        last = self._seen[-1]
        usual_fps = _fps(self._seen[0], last)
        return usual_fps > STALL_GAPS * _fps(last, newest)

    def _is_after_burst(self, newest: _Seen) -> bool:
        """It comes after a pause. A longer one than those between bursts is the end of them."""
        last = self._begins[-1]
        if self._seen[-1].time_ns - last.time_ns > BURST_NS:
            return False
        if len(self._begins) == 1:
            return True
        usual_ns = (last.time_ns - self._begins[0].time_ns) / (len(self._begins) - 1)
        return newest.time_ns - last.time_ns <= STALL_GAPS * usual_ns

    def _is_known(self, newest: _Seen) -> bool:
        count = len(self._seen)
        is_long = newest.time_ns - self._seen[0].time_ns >= MIN_NS
        return count == NUM_FRAMES or (count >= MIN_FRAMES and is_long)


def _is_later(last: _Seen, newest: _Seen) -> bool:
    """Of the same source, and one with times."""
    return newest.number > last.number and newest.time_ns > last.time_ns


def _fps(first: _Seen, last: _Seen) -> float:
    return NS_PER_S * (last.number - first.number) / (last.time_ns - first.time_ns)
