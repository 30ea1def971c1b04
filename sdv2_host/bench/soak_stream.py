"""The pictures of a soak: a source that is as fast as the host, and a viewer that counts.

The source keeps so many frames under way that the host always has one to take, so its rate is the
host's. Where nothing comes out (a pause, a dead worker) it goes on as a camera does.
"""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.types import FrameFlags, FrameMeta, Size

UNDER_WAY = 8
"""A chunk that is made and one that waits: with more, the host would choose among them."""
CAMERA_NS = NS_PER_S // 30
FLOWING_NS = 5 * NS_PER_S
POLL_S = 0.001
PICTURES = 32
SETTLE_FRAMES = 45
"""After what disturbed the stream, until its pictures are ordinary ones again."""


@dataclass
class Latencies:
    """Of ordinary operation, in the order in which they were seen; 12 bytes each."""

    frames: array[int] = field(default_factory=lambda: array("I"))
    """How many frames had been sent when the picture's own was."""
    ms: array[float] = field(default_factory=lambda: array("d"))


class Stream:
    """Fields, per run: both ring ends; what was sent and seen; what disturbs the stream now, and
    from which frame on it is ordinary again. Per source: its writer and size."""

    def __init__(self, name: str, size: Size) -> None:
        self.sent = 0
        """Frames, of all sources."""
        self.fresh = 0
        """Pictures seen."""
        self.lost = 0
        """Pictures that the viewer was too slow for."""
        self.latencies = Latencies()
        self._input, self._size = f"{name}-in", size
        self._reader = FrameReader(f"{name}-out")
        self._pictures = moving_pictures(size)
        self._writer: FrameWriter | None = FrameWriter(self._input)
        self._newest_ns = 0
        """When the newest frame was captured of which a picture was seen."""
        self._sent_ns: dict[int, int] = {}
        """Capture times of what is under way, and how many had been sent by then."""
        self._published_ns = 0
        self.is_stalled = False
        """The source is there and sends nothing."""
        self._disturbing: set[str] = set()
        self._ordinary_from = SETTLE_FRAMES

    def disturb(self, what: str) -> None:
        """Pictures are no ordinary ones until it is over."""
        self._disturbing.add(what)

    def calm(self, what: str) -> None:
        """That is over; a few frames later pictures are ordinary, unless something else is on."""
        self._disturbing.discard(what)
        self._ordinary_from = self.sent + SETTLE_FRAMES

    @property
    def is_flowing(self) -> bool:
        """A picture of a frame of the last few seconds was seen."""
        return now_ns() - self._newest_ns < FLOWING_NS

    async def run_to(self, frame: int) -> None:
        """So many frames were sent, and what came was looked at."""
        while self.sent < frame:
            if not self._turn():
                await asyncio.sleep(POLL_S)
            elif self.sent % 4 == 0:
                await asyncio.sleep(0)

    def _turn(self) -> bool:
        """Whether a frame was sent."""
        now = now_ns()
        self._look(now)
        is_due = len(self._sent_ns) < UNDER_WAY or now - self._published_ns > CAMERA_NS
        if self._writer is None or self.is_stalled or not is_due:
            return False
        self._send(self._writer, now)
        return True

    def _send(self, writer: FrameWriter, now: int) -> None:
        self.sent += 1
        self._published_ns = now
        self._sent_ns[now] = self.sent
        if len(self._sent_ns) > 4 * UNDER_WAY:
            del self._sent_ns[next(iter(self._sent_ns))]
        meta = FrameMeta(self._size.width, self._size.height, capture_ts_ns=now)
        writer.publish(self._pictures[self.sent % PICTURES], meta)

    def _look(self, now: int) -> None:
        """The pictures that came; those of older frames do not come any more."""
        while (frame := self._reader.read_next()) is not None:
            if FrameFlags.REPEATED in frame.meta.flags:
                continue
            self.fresh += 1
            captured_ns = frame.meta.source_capture_ts_ns
            self._newest_ns = captured_ns
            number = self._sent_ns.get(captured_ns)
            for sent_ns in [one for one in self._sent_ns if one <= captured_ns]:
                del self._sent_ns[sent_ns]
            is_ordinary = number is not None and number >= self._ordinary_from
            if is_ordinary and not self._disturbing:
                assert number is not None, "just asked"
                self.latencies.frames.append(number)
                self.latencies.ms.append((frame.meta.publish_ts_ns - captured_ns) / NS_PER_MS)
        self.lost = self._reader.lost

    def unplug(self) -> None:
        """No source is there."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self._sent_ns.clear()

    def plug_in(self, size: Size) -> None:
        """Another source is there, whose pictures have this size."""
        if size != self._size:
            self._size, self._pictures = size, moving_pictures(size)
        self._writer = FrameWriter(self._input)

    def close(self) -> None:
        self.unplug()
        self._reader.close()


def moving_pictures(size: Size) -> NDArray[np.uint8]:
    """[PICTURES, H, W, 4]: waves that move, in a loop."""
    rows = np.arange(size.height)[:, None, None] / 9
    columns = np.arange(size.width)[None, :, None] / 7
    shift = np.arange(3)[None, None, :] * 2.1
    pictures = np.full((PICTURES, size.height, size.width, 4), 255, np.uint8)
    for number in range(PICTURES):
        turn = 2 * np.pi * number / PICTURES
        waves = np.sin(rows + turn + shift) + np.cos(columns - turn + shift)
        pictures[number, ..., :3] = (waves * 60 + 128).astype(np.uint8)
    return pictures
