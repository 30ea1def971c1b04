"""OutputRing: the host's pictures as an application uploads them, bottom row first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sdv2_host.clock import NS_PER_S
from sdv2_host.ipc.frame_pool import FramePool
from sdv2_host.ipc.frame_ring import FrameReader, RingStatus
from sdv2_host.ipc.host_file import output_stream
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.types import Frame, FrameFlags, Orientation, PixelFormat, Size

STATUS_NS = NS_PER_S // 10


class OutputRing:
    """The reader of NAME-out.

    Fields, per host name: the reader; the memory of pictures; when a fresh one came last, how many
    came and of what size; the writer's state and when to ask for it again.
    """

    def __init__(self, host: str, run_dir: Path | None) -> None:
        """Raises: RingError: the name cannot be a stream's."""
        self.size: Size | None = None
        self.num_fresh = 0
        self.fresh_ns = 0
        """When the last fresh picture came; 0 = none yet."""
        self._reader = FrameReader(output_stream(host), run_dir=run_dir)
        self._pool = FramePool()
        self._status = RingStatus.ABSENT
        self._next_status_ns = 0

    def newest(self, now: int) -> Frame | None:
        """The newest picture that was not taken yet."""
        frame = self._reader.read_newest()
        return self._seen(frame, now) if frame is not None else None

    def next(self, now: int) -> Frame | None:
        """The oldest picture that was not taken yet."""
        frame = self._reader.read_next()
        return self._seen(frame, now) if frame is not None else None

    def is_stalled(self, now: int) -> bool:
        """The writer's process lives but gives no sign."""
        if now >= self._next_status_ns:
            self._next_status_ns = now + STATUS_NS
            self._status = self._reader.status
        return self._status is RingStatus.STALLED

    def close(self) -> None:
        self._reader.close()

    def _seen(self, frame: Frame, now: int) -> Frame:
        if FrameFlags.REPEATED not in frame.meta.flags:
            self.num_fresh += 1
            self.fresh_ns = now
        self.size = Size(frame.meta.width, frame.meta.height)
        return bottom_first(frame, self._pool)


def bottom_first(frame: Frame, pool: FramePool) -> Frame:
    """The same picture as RGBA8, contiguous, bottom row first, in memory of the pool."""
    rows = to_rgba8(frame)[::-1]
    pixels = pool.take(rows.nbytes).reshape(rows.shape)
    np.copyto(pixels, rows)  # frees the interpreter for the application meanwhile
    meta = replace(frame.meta, pixel_format=PixelFormat.RGBA8, orientation=Orientation.BOTTOM_FIRST)
    return Frame(meta, pixels)
