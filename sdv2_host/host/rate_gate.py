"""Which frames of a source a target rate leaves room for. Pure: by the times in the frames."""

from __future__ import annotations

from dataclasses import dataclass

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.types import FrameMeta

MAX_GAP_NS = 5 * NS_PER_S
GAP_SMOOTHING = 0.1
CLOCKS_AGREE_NS = 500 * NS_PER_MS
"""Frames may come in bursts and out of order, but by no more than this. Times of capture that fall
behind, or run ahead, tell of another clock: one that stands still, or counts in another unit."""


@dataclass(slots=True)
class RateGate:
    """The frames nearest to an even grid.

    Nearest = half a frame of the source early is on time, so a source of the target's own rate
    loses nothing to jitter. Lifetime of the fields: a source, `target_fps` until it is set.
    """

    target_fps: float = 0.0
    """Frames per second to keep at most, 0 = all."""
    _due_ns: float = 0.0
    """When the next frame is wanted, by the source's times."""
    _newest_ns: int = 0
    """Time of the newest frame."""
    _gap_ns: float = 0.0
    """Distance of the source's frames, smoothed."""
    _lag_ns: int | None = None
    """From capture to publication of the source's first frame."""
    _has_own_clock: bool = False
    """Its times of capture are of no use."""

    def begin(self) -> None:
        """Another source follows."""
        self._lag_ns, self._has_own_clock = None, False

    def leaves_room_for(self, meta: FrameMeta) -> bool:
        """The frame is the newest."""
        if self.target_fps <= 0:
            return True
        interval_ns = NS_PER_S / self.target_fps
        time_ns = self._time_ns(meta)
        gap_ns = time_ns - self._newest_ns
        if not self._newest_ns or abs(gap_ns) > MAX_GAP_NS:  # another clock, or a pause: anew
            self._due_ns, self._newest_ns = time_ns, time_ns
        elif gap_ns > 0:
            self._gap_ns += GAP_SMOOTHING * (gap_ns - self._gap_ns) if self._gap_ns else gap_ns
            self._newest_ns = time_ns
        self._due_ns = min(self._due_ns, time_ns + interval_ns)  # the rate may have been lower
        if time_ns < self._due_ns - min(self._gap_ns, interval_ns) / 2:
            return False
        self._due_ns = max(self._due_ns, time_ns - interval_ns) + interval_ns
        return True

    def _time_ns(self, meta: FrameMeta) -> int:
        """When the frame was captured, as far as that goes on as fast as frames come."""
        lag_ns = meta.publish_ts_ns - meta.captured_ns
        if self._lag_ns is None:
            self._lag_ns = lag_ns
        self._has_own_clock |= abs(lag_ns - self._lag_ns) > CLOCKS_AGREE_NS
        return meta.publish_ts_ns if self._has_own_clock else meta.captured_ns
