"""The worker's loop turn by turn, in this process: real rings, a naive engine, a source at hand.

What comes and when is the test's choice; how old it is by then is not, so nothing here may hang
on that.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import now_ns
from sdv2_host.host.intake import Intake, IntakeCounts
from sdv2_host.host.outlet import Outlet
from sdv2_host.host.schedule import Schedule
from sdv2_host.host.worker import Turn, style_chunk
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.messages import SetParams
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Layout, PixelFormat, Shape, Size
from tests.naive_engine import NaiveEngine

SERIAL, BATCH = Layout.SERIAL, Layout.BATCH
STEP_MS = {
    **{Shape(n, SERIAL, steps): n + 1.0 * steps for n in (4, 8, 12) for steps in (1, 2, 3, 4)},
    **{Shape(4, BATCH, steps): 4.5 + 0.5 * steps for steps in (2, 3, 4)},
}
INPUT_SLOTS, WORK_SLOTS = 16, 64
DEADLINE_S = 20.0


@dataclass
class Desk:
    """The daemon's orders, without a daemon."""

    newest: SetParams = field(default_factory=lambda: SetParams(version=1, params=Params()))

    def wait_stopped(self, timeout_s: float) -> bool:
        del timeout_s
        return False


class Sent(NamedTuple):
    number: int
    """From 1, through all lives of the source."""
    meta: FrameMeta
    """`frame` is its number in the ring."""


@dataclass
class Source:
    stream: str
    run_dir: Path
    writer: FrameWriter
    size: Size = field(default_factory=lambda: Size(4, 4))
    pixel_format: PixelFormat = PixelFormat.RGBA8
    cuts: bool = True
    """The next frame begins a session."""
    sessions: list[list[Sent]] = field(default_factory=list)

    @property
    def sent(self) -> list[Sent]:
        return [one for session in self.sessions for one in session]

    def publish(self, flags: FrameFlags) -> None:
        number = len(self.sent) + 1
        if self.cuts:
            flags |= FrameFlags.DISCONTINUITY
            self.sessions.append([])
        self.cuts = False
        meta = FrameMeta(*self.size, self.pixel_format, flags=flags, capture_ts_ns=now_ns())
        frame = self.writer.publish(picture_of(number, self.size), meta)
        self.sessions[-1].append(Sent(number, replace(meta, frame=frame)))

    def resize(self, size: Size, pixel_format: PixelFormat) -> None:
        self.size, self.pixel_format, self.cuts = size, pixel_format, True

    def restart(self) -> None:
        """Another writer, whose frames are numbered anew in the ring."""
        self.writer.close()
        self.writer = FrameWriter(self.stream, slot_count=INPUT_SLOTS, run_dir=self.run_dir)
        self.cuts = True


def picture_of(number: int, size: Size) -> NDArray[np.uint8]:
    """Red and blue are the low byte and green the high one, whatever the order of the channels."""
    picture = np.full((size.height, size.width, 4), 255, np.uint8)
    picture[..., 0] = picture[..., 2] = number % 256
    picture[..., 1] = number // 256
    return picture


def is_lockstep(meta: FrameMeta) -> bool:
    return FrameFlags.LOCKSTEP in meta.flags


def number_in(frame: Frame) -> int:
    return int(frame.pixels[0, 0, 0]) + 256 * int(frame.pixels[0, 0, 1])


@dataclass
class OneTurnWorker:
    source: Source
    engine: NaiveEngine
    intake: Intake
    outlet: Outlet
    output: FrameReader
    desk: Desk
    schedule: Schedule
    shown: list[Frame] = field(default_factory=list)
    """All that came out."""

    @property
    def waiting(self) -> list[Frame]:
        """In the intake."""
        return self.intake._backlog.waiting

    @property
    def num_owed(self) -> int:
        """Input frames whose pictures the engine owes, each once."""
        return len(self.outlet._in_flight.sources)

    @property
    def num_rendering(self) -> int:
        """Lock-step frames of this session whose pictures have not come."""
        session = self.source.sessions[-1] if self.source.sessions else []
        shown = {number_in(frame) for frame in self.shown}
        return sum(is_lockstep(one.meta) and one.number not in shown for one in session)

    @property
    def counts(self) -> IntakeCounts:
        return self.intake.counts

    def send(self, count: int, flags: FrameFlags = FrameFlags.NONE) -> None:
        """So many frames in one go; the intake has seen them all."""
        for _ in range(count):
            self.source.publish(flags)
        deadline_s = time.monotonic() + DEADLINE_S
        while self.counts.frames_in < len(self.source.sent):
            assert time.monotonic() < deadline_s, f"{self.counts} of {len(self.source.sent)} sent"
            time.sleep(0.0005)

    def turn(self) -> Turn:
        turn = style_chunk(
            self.desk, self.engine, self.intake, self.outlet, self.schedule, idle_s=0.0
        )
        while (frame := self.output.read_next()) is not None:
            self.shown.append(frame)
        return turn

    def order(self, params: Params) -> None:
        self.desk.newest = SetParams(version=self.desk.newest.version + 1, params=params)


@contextmanager
def one_turn_worker(run_dir: Path, layout: Layout) -> Iterator[OneTurnWorker]:
    """A worker with a source that has published nothing yet."""
    stream = f"t-{uuid.uuid4().hex[:10]}"
    engine = NaiveEngine(layout, STEP_MS)
    desk = Desk()
    writer = FrameWriter(f"{stream}-in", slot_count=INPUT_SLOTS, run_dir=run_dir)
    source = Source(f"{stream}-in", run_dir, writer)
    with (
        Outlet(FrameWriter(f"{stream}-wk", slot_count=WORK_SLOTS, run_dir=run_dir)) as outlet,
        FrameReader(f"{stream}-wk", run_dir=run_dir) as output,
        Intake(FrameReader(f"{stream}-in", run_dir=run_dir), 1, 4) as intake,
    ):
        schedule = Schedule(engine, desk.newest.params)
        yield OneTurnWorker(source, engine, intake, outlet, output, desk, schedule)
        source.writer.close()
