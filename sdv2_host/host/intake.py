"""From the input ring to the engine: newest frames win, spacing stays even, latency never grows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import WorkerError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.types import Frame, FrameFlags, FrameMeta

POLL_S = 0.002
BACKLOG_FRAMES = 12
"""Frames kept at most: three chunks. A 1080p float frame is 33 MB."""

MAX_GAP_NS = 5 * NS_PER_S
GAP_SMOOTHING = 0.1
PATIENCE_CHUNKS = 4
"""An engine that had frames waiting for so many chunks in a row is behind, not late once."""


class IntakeChunk(NamedTuple):
    frames: list[Frame]
    """Of one size and format, in order."""
    begins_session: bool
    """The source began before these frames: no state of the engine should survive."""


class IntakeCounts(NamedTuple):
    """Since the intake's start."""

    frames_in: int
    """Frames that the source published, those missed included."""
    taken: int
    """Frames that chunks were made of."""
    dropped: int
    """Frames of the source that no chunk got."""
    queue_depth: int


@dataclass(slots=True)
class Backlog:
    """Frames waiting for the engine. Pure: no thread, no clock.

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


class Intake:
    """Reads the input ring; `next_chunk` hands out frames. Owns the reader and one thread.

    Why a thread: the engine holds the main thread for a whole chunk (100 ms and more), and a ring
    of four slots is lapped in that time, so frames must be copied out while the engine computes.
    It polls because the ring has no bell: writers are creative apps and must never be made to
    wake others. One look costs 0.5 us; numpy releases the GIL while it copies.
    """

    def __init__(self, reader: FrameReader, first_frames: int, chunk_frames: int) -> None:
        """`first_frames` are wanted for the first chunk of a session, then `chunk_frames`."""
        self._reader = reader
        self._first_frames = first_frames
        self._chunk_frames = chunk_frames
        self._backlog = Backlog()
        self._latency_bound_ns = 0
        self._frames_in = 0
        self._taken = 0
        self._chunks_since_wait = 0
        """Chunks taken since the engine last had to wait for frames."""
        self._arrival = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="intake", daemon=True)
        self._thread.start()

    def __enter__(self) -> Intake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def follow(self, target_fps: float, latency_bound_ms: float) -> None:
        """The live parameters of these names hold from now on."""
        with self._arrival:
            self._backlog.target_fps = target_fps
            self._latency_bound_ns = round(latency_bound_ms * NS_PER_MS)

    def discard(self) -> None:
        """What waits is dropped."""
        with self._arrival:
            self._backlog.discard()

    def next_chunk(self, timeout_s: float) -> IntakeChunk | None:
        """The next frames for the engine, or None when too few came in time. Blocks until then.

        Raises:
            WorkerError: the reading thread has ended.
        """
        with self._arrival:
            must_wait = len(self._backlog.waiting) < self._wanted
            arrived = self._arrival.wait_for(
                lambda: len(self._backlog.waiting) >= self._wanted, timeout_s
            )
            if not self._thread.is_alive():
                raise WorkerError("the thread that reads the input ring has ended, see above")
            if not arrived:
                return None
            if self._latency_bound_ns:
                self._backlog.expire(now_ns() - self._latency_bound_ns, self._wanted)
            begins_session = self._backlog.begins_session
            keeps_up = self._chunks_since_wait < PATIENCE_CHUNKS
            frames = self._backlog.take(self._wanted, keeps_up)
            self._chunks_since_wait = 0 if must_wait else self._chunks_since_wait + 1
            self._taken += len(frames)
            return IntakeChunk(frames, begins_session)

    @property
    def _wanted(self) -> int:
        return self._first_frames if self._backlog.begins_session else self._chunk_frames

    @property
    def counts(self) -> IntakeCounts:
        with self._arrival:
            lost = self._reader.lost
            return IntakeCounts(
                frames_in=self._frames_in + lost,
                taken=self._taken,
                dropped=self._backlog.dropped + lost,
                queue_depth=len(self._backlog.waiting),
            )

    def close(self) -> None:
        """The thread has ended and the reader is closed."""
        self._closing.set()
        self._thread.join()
        self._reader.close()

    def _poll(self) -> None:
        # The newest first: what a stopped source left in the ring is history, not a stream.
        frame = self._reader.read_newest()
        while not self._closing.wait(POLL_S):
            while frame is not None:
                with self._arrival:
                    self._frames_in += 1
                    self._backlog.push(frame)
                    self._arrival.notify()
                frame = self._reader.read_next()
            frame = self._reader.read_next()
