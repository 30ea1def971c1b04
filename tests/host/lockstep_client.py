"""A render's end of the rings: never more frames under way than the host says it needs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.types import Frame, FrameFlags, FrameMeta

PATIENCE_S = 30.0


class LockstepClient:
    """Publishes a frame only when the picture of the one `delay` + 1 before it is there."""

    def __init__(self, name: str, run_dir: Path, delay: int) -> None:
        self.delay = delay
        self.writer = FrameWriter(f"{name}-in", slot_count=delay + 2, run_dir=run_dir)
        self.reader = FrameReader(f"{name}-out", run_dir=run_dir)
        self.pictures: list[Frame] = []
        """Fresh lock-step frames of the session, as they came."""
        self.first = 1
        """Number of the session's first frame."""

    def __enter__(self) -> LockstepClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()
        self.reader.close()

    @property
    def numbers(self) -> list[int]:
        return [frame.meta.source_frame for frame in self.pictures]

    @property
    def expected(self) -> list[int]:
        """The session's frames up to the last that came: none missing, none twice."""
        return list(range(self.first, self.numbers[-1] + 1)) if self.pictures else []

    def render(self, frames: Iterable[NDArray[Any]], meta: FrameMeta, pause_s: float = 0.0) -> None:
        """A session: all frames were published, the pictures of all but the last `delay` came.

        `pause_s` between two looks at the output: how slow this reader is.
        """
        flags = FrameFlags.LOCKSTEP | FrameFlags.DISCONTINUITY
        self.first = self.writer.frame + 1
        self.pictures = []
        for pixels in frames:
            number = self.send(pixels, meta, flags)
            flags = FrameFlags.LOCKSTEP
            if number - self.delay >= self.first:
                self.wait_for(number - self.delay, pause_s)

    def send(self, pixels: NDArray[Any], meta: FrameMeta, flags: FrameFlags) -> int:
        height, width = pixels.shape[:2]
        return self.writer.publish(
            pixels,
            FrameMeta(
                width,
                height,
                pixel_format=meta.pixel_format,
                orientation=meta.orientation,
                flags=flags,
            ),
        )

    def wait_for(self, number: int, pause_s: float = 0.0) -> None:
        """The picture of this frame, or of a later one, came."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.pictures or self.numbers[-1] < number:
            assert time.monotonic() < deadline_s, f"no picture of {number}, only {self.numbers}"
            time.sleep(pause_s or 0.001)
            self.look()

    def look(self) -> None:
        """What is in the ring was taken."""
        while (frame := self.reader.read_next()) is not None:
            is_fresh = FrameFlags.REPEATED not in frame.meta.flags
            if frame.is_lockstep and is_fresh and frame.meta.source_frame >= self.first:
                self.pictures.append(frame)


def numbered(num_frames: int) -> list[NDArray[np.uint8]]:
    """Pictures [16, 24, 4] that differ."""
    return [np.full((16, 24, 4), 10 + index, np.uint8) for index in range(num_frames)]
