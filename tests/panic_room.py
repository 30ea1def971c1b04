"""A host that is about to be panicked, whatever its worker does.

The host runs in a thread of this process, with real rings and a real worker process, so that the
newest frame of the output is known at the moment at which a change is told to the surfaces.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from sdv2_host.bench.end_process import kill_at_once, suspend
from sdv2_host.control.console import Change, Notice
from sdv2_host.control.state_file import initial_params, load_state
from sdv2_host.host.control_room import state_path
from sdv2_host.host.limits import Limits
from sdv2_host.ipc.frame_ring import FrameReader, default_run_dir
from sdv2_host.params import Params
from sdv2_host.types import Frame
from tests.host.live_host import Stage, live_host
from tests.hosts import unique_name

DEADLINE_S = 30.0
PATIENT = Limits(silence_s=600.0, start_silence_s=600.0, first_delay_s=600.0, max_delay_s=600.0)
"""A worker that hangs or died stays so for as long as a test takes."""
CUES = {
    "format": "sdv2-cues",
    "version": 1,
    "name": "alarm",
    "cues": [
        {"id": "1", "params": {"/sdv2/panicked": True}},
        {"id": "2", "params": {"/sdv2/seed": 7}},
    ],
}


def is_black(frame: Frame) -> bool:
    return int(frame.pixels[..., :3].max()) == 0


def is_bright(frame: Frame) -> bool:
    return not is_black(frame)


class PanicRoom:
    """A host, a source, a viewer, and what the host told its surfaces. A `Listener`.

    Fields, per host: the stage and its loop; the source; a reader that knows the newest frame; how
    many frames there were when a panic was told, None = none was since the last resume; what a
    safe picture looks like.
    """

    def __init__(self, stage: Stage, loop: asyncio.AbstractEventLoop) -> None:
        self.stage = stage
        self.told_at: int | None = None
        self.is_safe = is_black
        self._loop = loop
        name = stage.daemon.config.name
        self._reader = FrameReader(f"{name}-out", run_dir=stage.run_dir)
        self._newest = 0
        self._source: asyncio.Task[None] | None = None
        stage.daemon.console.listen(self)

    @property
    def name(self) -> str:
        return self.stage.daemon.config.name

    @property
    def port(self) -> int:
        return self.stage.daemon.port

    @property
    def seen(self) -> list[Frame]:
        return self.stage.seen

    def on_change(self, change: Change) -> None:
        if "panicked" in change.values:
            frame = self._reader.read_newest()
            self._newest = frame.meta.frame if frame is not None else self._newest
            self.told_at = self._newest if change.values["panicked"] else None

    def on_notice(self, notice: Notice) -> None: ...

    def within(self, work: Callable[[], None]) -> None:
        """Done in the host's own thread."""

        async def run() -> None:
            work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE_S)

    def set(self, **values: object) -> None:
        self.within(lambda: self.stage.daemon.console.set(values, "room", now=True))

    def call(self, action: str, *args: str | float) -> None:
        self.within(lambda: self.stage.daemon.console.call(action, args, "room"))

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, self.stage.daemon.snapshot()
            time.sleep(0.002)

    def begin_source(self) -> None:
        self.within(self._begin_source)

    def _begin_source(self) -> None:
        self._source = self._loop.create_task(self.stage.publish_frames())

    def end_source(self) -> None:
        self.within(self.end_source_now)

    def end_source_now(self) -> None:
        """In the host's own thread."""
        if self._source is not None:
            self._source.cancel()

    def flow(self) -> None:
        """Styled pictures reach the output."""
        self.begin_source()
        self.until(lambda: len(self.stage.fresh) > 4)

    def worker_pid(self) -> int:
        pid = self.stage.daemon.snapshot().worker_pid
        assert pid is not None, "it is ready"
        return pid

    def check_next_frame(self) -> None:
        """The safe picture came, at the latest with the frame after the one that was on its way to
        the ring when the surfaces were told."""
        self.until(lambda: self.told_at is not None)
        assert self.told_at is not None
        on_its_way = self.told_at + 1
        self.until(lambda: self.seen and self.is_safe(self.seen[-1]))
        later = [frame for frame in self.seen if frame.meta.frame > on_its_way]
        assert all(self.is_safe(frame) for frame in later)

    @property
    def is_kept(self) -> bool:
        """The next host of this name would begin in a panic."""
        config = self.stage.daemon.config
        kept = load_state(state_path(config))
        return initial_params(kept, Params(), (), config.engine).panicked

    def calm(self) -> None:
        """No panic any more, and the output shows what is behind it, if there is anything."""
        self.set(panicked=False)
        self.until(lambda: not self.seen or not self.is_safe(self.seen[-1]))


@contextmanager
def panic_room(folder: Path, limits: Limits = PATIENT) -> Iterator[PanicRoom]:
    """A host without a source; panics are cuts to black, and nothing else shows that."""
    params = Params(safe="black", panic_s=0.0, hold_s=3600.0)
    name = unique_name()
    (folder / "cues").mkdir(parents=True)
    (folder / "cues" / "alarm.json").write_text(json.dumps(CUES))
    made: list[PanicRoom] = []
    opened, ended = threading.Event(), asyncio.Event()

    async def live() -> None:
        changes = {"data_dir": str(folder), "resume": "last"}
        async with live_host(default_run_dir(), name, params, limits, changes=changes) as stage:
            await stage.until(stage.daemon.opened.is_set)
            viewer = asyncio.create_task(stage.view())
            made.append(PanicRoom(stage, asyncio.get_running_loop()))
            opened.set()
            await ended.wait()
            made[0].end_source_now()
            viewer.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert opened.wait(DEADLINE_S)
    room = made[0]
    try:
        yield room
    finally:
        room.within(ended.set)
        thread.join(DEADLINE_S)


# What the worker does.


def working(room: PanicRoom) -> None:
    room.flow()


def without_source(room: PanicRoom) -> None:
    room.flow()
    room.end_source()


def hung(room: PanicRoom) -> None:
    """It stands still, in a chunk or between two."""
    room.flow()
    suspend(room.worker_pid())


def dead(room: PanicRoom) -> None:
    """The next one is not there yet."""
    room.flow()
    pid = room.worker_pid()
    kill_at_once(pid)
    room.until(lambda: room.stage.daemon.snapshot().state == "recovering")


def resting(room: PanicRoom) -> None:
    room.flow()
    room.set(pause=True)


def preparing(room: PanicRoom) -> None:
    """Another engine loads beside it, and does not come."""
    room.flow()
    room.set(width=128, height=64)
    room.until(lambda: room.stage.daemon.next_pid is not None)
    suspend(room.stage.daemon.next_pid or 0)


def fading(room: PanicRoom) -> None:
    """Another engine's pictures fade in."""
    room.flow()
    room.set(width=128, height=64, swap_s=10.0)
    room.until(lambda: "takes over" in room.stage.daemon.snapshot().preparing)


def starting(room: PanicRoom) -> None:
    """The first one stands still while it loads: no picture was on the output yet.

    What is behind the safe picture is black there, so that is the input.
    """
    room.set(safe="input")
    room.is_safe = is_bright
    room.begin_source()
    known = psutil.Process()
    room.until(known.children)
    suspend(known.children()[0].pid)


WORKERS = (working, without_source, hung, dead, resting, preparing, fading, starting)
