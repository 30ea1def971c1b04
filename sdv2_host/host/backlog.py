"""Frames that wait for the engine. Pure: no thread, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdv2_host.clock import NS_PER_S
from sdv2_host.types import Frame, FrameFlags, FrameMeta

BACKLOG_FRAMES = 12
"""Frames kept at most: three chunks. A 1080p float frame is 33 MB."""
MAX_GAP_NS = 5 * NS_PER_S
GAP_SMOOTHING = 0.1


@dataclass(slots=True)
class Backlog:
    """What came and no chunk got yet.

    When the engine is so slow that the backlog fills, the frame goes whose neighbours are closest
    to each other, so that what a later chunk gets is spread over the whole time it stands for.
    """

    waiting: list[Frame] = field(default_factory=list)
    """Oldest first, at most BACKLOG_FRAMES."""
    begins_session: bool = True
    """What waits is the beginning of a source."""
    dropped: int = 0
    """Since the start."""
    previous: FrameMeta | None = None
    """Of the newest frame ever pushed."""
    taken_number: int = 0
    """Number of the last frame given to a chunk; chunks stand for the time after it."""
    target_fps: float = 0.0
    """Frames per second to keep at most, 0 = all."""
    due_ns: float = 0.0
    """When the next frame is wanted, by the source's times; this and what follows with
    `target_fps`."""
    seen_ns: int = 0
    """Time of the newest frame."""
    gap_ns: float = 0.0
    """Distance of the source's frames, smoothed."""

    def push(self, frame: Frame) -> None:
        """The frame is the newest; a new source drops what came from the old one."""
        if self.previous is None or _is_cut(self.previous, frame.meta):
            self.dropped += len(self.waiting)
            self.waiting = []
            self.begins_session = True
            self.taken_number = frame.meta.frame - 1
        self.previous = frame.meta
        if not self._is_wanted(frame.meta):
            self.dropped += 1
            return
        self.waiting.append(frame)
        if len(self.waiting) > BACKLOG_FRAMES:
            self.waiting.pop(self._most_crowded())
            self.dropped += 1

    def _is_wanted(self, meta: FrameMeta) -> bool:
        """Whether the target rate leaves room for the frame: the frames nearest to an even grid.

        Nearest = half a frame of the source early is on time, so a source of the target's own rate
        loses nothing to jitter.
        """
        if self.target_fps <= 0:
            return True
        interval_ns = NS_PER_S / self.target_fps
        time_ns = meta.capture_ts_ns or meta.publish_ts_ns
        gap_ns = time_ns - self.seen_ns if self.seen_ns else -1
        self.seen_ns = time_ns
        if not 0 <= gap_ns <= MAX_GAP_NS:  # another clock, or a pause: begin anew
            self.due_ns = time_ns
        else:
            self.gap_ns += GAP_SMOOTHING * (gap_ns - self.gap_ns) if self.gap_ns else gap_ns
        if time_ns < self.due_ns - min(self.gap_ns, interval_ns) / 2:
            return False
        self.due_ns = max(self.due_ns, time_ns - interval_ns) + interval_ns
        return True

    def expire(self, before_ns: int, keep: int) -> None:
        """Frames published before this time are dropped, but for the newest `keep`."""
        old = sum(frame.meta.publish_ts_ns < before_ns for frame in self.waiting)
        count = max(0, min(old, len(self.waiting) - keep))
        self.waiting = self.waiting[count:]
        self.dropped += count

    def discard(self) -> None:
        """What waits is dropped; the stream goes on with the next frame."""
        self.dropped += len(self.waiting)
        self.waiting = []
        if self.previous is not None:
            self.taken_number = self.previous.frame

    def take(self, count: int, keeps_up: bool) -> list[Frame]:
        """The next chunk of `count` frames, oldest first; needs as many waiting.

        With an engine that otherwise keeps up, up to half a chunk too many is jitter and waits for
        the next chunk. Else the engine is behind: `count` frames evenly spaced up to the newest
        are taken and the others dropped.
        """
        num_waiting = len(self.waiting)
        assert num_waiting >= count, "take() before enough frames came"
        is_jitter = keeps_up and num_waiting - count <= count // 2
        chosen = self.waiting[:count] if is_jitter else self._spread(count)
        self.waiting = self.waiting[count:] if is_jitter else []
        self.dropped += num_waiting - len(self.waiting) - count
        self.taken_number = chosen[-1].meta.frame
        self.begins_session = False
        return chosen

    def _most_crowded(self) -> int:
        """Index of the frame that is missed least; never the newest."""
        numbers = [self.taken_number, *(frame.meta.frame for frame in self.waiting)]
        return min(
            range(len(self.waiting) - 1), key=lambda index: numbers[index + 2] - numbers[index]
        )

    def _spread(self, count: int) -> list[Frame]:
        """`count` frames, each nearest to the end of its share of the time, the newest last."""
        numbers = [frame.meta.frame for frame in self.waiting]
        share = (numbers[-1] - self.taken_number) / count
        chosen: list[int] = []
        for k in range(1, count + 1):
            target = self.taken_number + k * share
            first = chosen[-1] + 1 if chosen else 0
            candidates = range(first, len(numbers) - (count - k))  # leaves one for each to come
            chosen.append(min(candidates, key=lambda index: abs(numbers[index] - target)))
        return [self.waiting[index] for index in chosen]


def _is_cut(previous: FrameMeta, meta: FrameMeta) -> bool:
    """True if the frame belongs to another source than the previous one, or to another shape."""
    return (
        meta.frame <= previous.frame
        or FrameFlags.DISCONTINUITY in meta.flags
        or (meta.width, meta.height) != (previous.width, previous.height)
        or meta.pixel_format != previous.pixel_format
    )
