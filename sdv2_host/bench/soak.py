"""`sdv2-host bench soak`: hours of a show, compressed, at a host of its own process.

Frames come as fast as the host takes them, everything else at the rates of a show of 30 frames a
second: so two hours of a busy evening are 216,000 frames, in as many minutes as this machine needs.
Twenty times in a run there is a rest: everybody leaves, and what is left is counted.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdv2_host.bench.end_process import kill_at_once
from sdv2_host.bench.soak_guests import Guests
from sdv2_host.bench.soak_host import soak_host, told_errors
from sdv2_host.bench.soak_script import (
    ACCIDENTS,
    CALM,
    DISTURBING,
    FRAMES_PER_HOUR,
    NAMES,
    SHOW_FPS,
    SOURCE,
    Turn,
    plan,
)
from sdv2_host.bench.soak_stream import Latencies, Stream
from sdv2_host.bench.soak_watch import Belongings, Mark, mark_process
from sdv2_host.clock import now_ns
from sdv2_host.commands.client import Client
from sdv2_host.config import EngineName
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.types import ProgressFn, Size

DEFAULT_SIZE = Size(64, 64)
NUM_RESTS = 20
NUM_MARKS = 200
"""Between the rests, so many more in all."""
REST_FRAMES = 20
REST_LOOKS = 5
ACCIDENT_S = 120.0
LOOK_S = 0.05
LARGER_PX = 16
"""By so much the other size of engine and source is larger."""


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What to run."""

    hours: float = 2.0
    """Of the show."""
    size: Size = DEFAULT_SIZE
    seed: int = 0
    engine: EngineName = "tiny"
    leave_out: frozenset[str] = frozenset()
    """Kinds of turns that do not come: for tests."""
    num_rests: int = NUM_RESTS

    @property
    def num_frames(self) -> int:
        return round(self.hours * FRAMES_PER_HOUR)

    @property
    def larger(self) -> Size:
        return Size(self.size.width + LARGER_PX, self.size.height + LARGER_PX)


@dataclass(slots=True)
class SoakTrace:
    """What was seen of a run."""

    num_frames: int
    took_s: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)
    came: dict[str, int] = field(default_factory=dict)
    """Turns, by kind."""
    broke: dict[str, int] = field(default_factory=dict)
    """What broke off on the guests' side."""
    fresh: int = 0
    lost: int = 0
    """Pictures that the bench's own viewer was too slow for."""
    status: dict[str, Any] = field(default_factory=dict)
    """The host's own, at the end."""
    exit_code: int | None = None
    left: tuple[int, int] = (0, 0)
    """Segments and files, after the end."""
    errors: list[str] = field(default_factory=list)
    """Lines of the host's log that tell of an error that nobody caught."""


def run(soak: SoakPlan, progress: ProgressFn) -> SoakTrace:
    """The whole run. Raises: HostError: the host cannot start, or ended in the middle."""
    return asyncio.run(_run(soak, progress))


async def _run(soak: SoakPlan, progress: ProgressFn) -> SoakTrace:
    trace = SoakTrace(soak.num_frames)
    name = f"soak-{now_ns() % 10**9}"
    belongings = Belongings(name)
    with tempfile.TemporaryDirectory(prefix="sdv2-soak-") as folder:
        hosting = soak_host(name, soak.engine, soak.size, Path(folder))
        async with hosting as (found, child):
            show = _Show(soak, found, child, trace, belongings)
            await show.run(progress)
        trace.exit_code = child.returncode
        trace.errors = told_errors(Path(folder))
    trace.left = belongings.look()
    return trace


class _Show:
    """One run at a host. Fields, per run: what is given; the stream and the guests; what goes on
    beside them; the sizes of engine and source now."""

    def __init__(
        self,
        soak: SoakPlan,
        host: HostFile,
        child: asyncio.subprocess.Process,
        trace: SoakTrace,
        belongings: Belongings,
    ) -> None:
        self._soak = soak
        self._child = child
        self._trace = trace
        self._belongings = belongings
        self._client = Client(host)
        self._stream = Stream(host.name, soak.size)
        self._guests = Guests(host)
        self._going_on: set[asyncio.Task[None]] = set()
        self._one_accident = asyncio.Lock()
        self._failure: HostError | None = None
        self._engine_is_larger = self._source_is_larger = False
        self._began_s = time.monotonic()
        self._marked = (self._began_s, 0)

    async def run(self, progress: ProgressFn) -> None:
        """Until all frames were sent. Raises: HostError."""
        try:
            await self._until(lambda: self._stream.is_flowing, "no picture came")
            await self._keep_looks()
            await self._guests.open()
            await self._play(progress)
            await self._rest()
        finally:
            await self._guests.close()
            self._guests.end()
            for task in self._going_on:
                task.cancel()
            self._stream.close()
        trace, stream = self._trace, self._stream
        trace.took_s = time.monotonic() - self._began_s
        trace.latencies, trace.fresh, trace.lost = stream.latencies, stream.fresh, stream.lost
        trace.came, trace.broke = dict(self._guests.came), dict(self._guests.broke)
        trace.status = await self._ask()

    async def _play(self, progress: ProgressFn) -> None:
        num_frames = self._soak.num_frames
        turns = plan(num_frames, self._soak.seed, self._soak.leave_out)
        begin = self._stream.sent
        rests = [num_frames * (i + 1) // self._soak.num_rests for i in range(self._soak.num_rests)]
        mark_every = max(1, num_frames // NUM_MARKS)
        for frame in range(num_frames):
            await self._stream.run_to(begin + frame)
            self._guests.move_faders(frame)
            while turns and turns[0].at_frame <= frame:
                self._do(turns.pop(0))
            if frame % mark_every == 0:
                self._check()
                self._trace.marks.append(await self._mark(is_rest=False))
                progress(self._says(frame), frame / num_frames)
            if frame == rests[0] and len(rests) > 1:
                rests.pop(0)
                sent = self._stream.sent
                await self._rest()
                begin += self._stream.sent - sent  # frames of a rest are none of the show
                await self._guests.open()

    def _do(self, turn: Turn) -> None:
        self._guests.do(turn)
        kind = turn.kind.removesuffix(" off")
        if kind in SOURCE or kind in ACCIDENTS:
            self._go_on(kind, self._change_source if kind in SOURCE else self._cause, turn)
        elif turn.kind in DISTURBING:
            self._stream.disturb(kind)
        elif kind in DISTURBING:
            self._stream.calm(kind)

    def _go_on(self, kind: str, doing: Callable[[Turn], Any], turn: Turn) -> None:
        async def disturb() -> None:
            self._stream.disturb(kind)
            try:
                await doing(turn)
            except HostError as error:
                self._failure = error
            finally:
                self._stream.calm(kind)

        task = asyncio.get_running_loop().create_task(disturb())
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)

    async def _change_source(self, turn: Turn) -> None:
        """What happens to cables and cameras, under the lock: one thing at a time."""
        rng = random.Random(turn.seed)
        async with self._one_accident:
            if turn.kind == "source stalls":
                self._stream.is_stalled = True
                await asyncio.sleep(rng.uniform(0.1, 2.5))
                self._stream.is_stalled = False
                return
            self._stream.unplug()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            self._source_is_larger ^= turn.kind == "source size"
            self._stream.plug_in(self._soak.larger if self._source_is_larger else self._soak.size)

    async def _cause(self, turn: Turn) -> None:
        """The worker is killed or another engine comes; until pictures flow again."""
        async with self._one_accident:
            before = (await self._ask())["worker_pid"]
            if turn.kind == "worker killed":
                if before is not None:
                    kill_at_once(before)
            else:
                self._engine_is_larger ^= True
                size = self._soak.larger if self._engine_is_larger else self._soak.size
                await asyncio.to_thread(self._client.call, "output_size", *size)
            deadline = time.monotonic() + ACCIDENT_S
            while time.monotonic() < deadline:
                await asyncio.sleep(LOOK_S)
                status = await self._ask()
                is_other = status["worker_pid"] not in (None, before)
                if is_other and not status["preparing"] and self._stream.is_flowing:
                    await self._keep_looks()
                    return
            raise WorkerError(f"{turn.kind}: no pictures for {ACCIDENT_S:g} s after it")

    async def _keep_looks(self) -> None:
        """As many as there ever are, at the beginning of a worker's life: what they take is no
        growth, and later ones take their place. Raises: HostError: not even after a while."""
        deadline = time.monotonic() + ACCIDENT_S
        for name in NAMES:
            while refused := await asyncio.to_thread(self._refused, "look_save", name):
                if time.monotonic() > deadline:
                    raise refused
                await asyncio.sleep(LOOK_S)

    def _refused(self, action: str, *args: str) -> HostError | None:
        """Why it was not done; None = it was."""
        try:
            self._client.call(action, *args)
        except HostError as error:  # the engine is not ready yet
            return error
        return None

    async def _rest(self) -> None:
        """Everybody is gone, what goes on has ended, all is as at the start; a mark is made."""
        await self._guests.close()
        await self._until(lambda: not self._going_on, "an accident does not end")
        await asyncio.to_thread(self._reset)
        await self._until(lambda: self._stream.is_flowing, "no picture came in a rest")
        deadline = time.monotonic() + ACCIDENT_S
        while (await self._ask())["web"]["clients"] and time.monotonic() < deadline:
            await self._stream.run_to(self._stream.sent + REST_FRAMES)
        marks = []
        for _ in range(REST_LOOKS):
            await self._stream.run_to(self._stream.sent + REST_FRAMES)
            marks.append(await self._mark(is_rest=True))
        # What asks for the status, and a connection that is just closing, are no part of the rest.
        self._trace.marks.append(min(marks, key=lambda mark: mark.daemon.num_fds))

    def _reset(self) -> None:
        """Raises: HostError."""
        self._client.call("resume")
        self._client.post("/api/set", {"values": dict(CALM), "fade": 0.0})
        board = self._client.get("/api/state")["board"]
        for name in board.get("looks", ()):
            self._client.call("look_forget", name)

    async def _until(self, condition: Callable[[], object], otherwise: str) -> None:
        """Frames are sent until the condition holds. Raises: WorkerError."""
        deadline = time.monotonic() + ACCIDENT_S
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise WorkerError(f"{otherwise} within {ACCIDENT_S:g} s")
            await self._stream.run_to(self._stream.sent + 1)

    def _check(self) -> None:
        """Raises: HostError: the host has ended, or did not come back after an accident."""
        if self._failure is not None:
            raise self._failure
        if self._child.returncode is not None:
            raise WorkerError(f"the host ended with {self._child.returncode} in the middle")

    async def _mark(self, *, is_rest: bool) -> Mark:
        status = await self._ask()
        daemon = mark_process(self._client.host.pid)
        if daemon is None:
            raise WorkerError("the host is gone")
        pid = status["worker_pid"]
        now_s, fresh = time.monotonic(), self._stream.fresh
        fps = (fresh - self._marked[1]) / max(now_s - self._marked[0], 1e-9)
        self._marked = (now_s, fresh)
        segments, files = self._belongings.look()
        at_s = round(now_s - self._began_s, 3)
        worker = mark_process(pid) if pid is not None else None
        frame = self._stream.sent
        return Mark(at_s, frame, daemon, worker, segments, files, round(fps, 1), is_rest)

    async def _ask(self) -> dict[str, Any]:
        status: dict[str, Any] = await asyncio.to_thread(self._client.get, "/api/status")
        return status

    def _says(self, frame: int) -> str:
        mark = self._trace.marks[-1]
        compressed = frame / SHOW_FPS / max(mark.at_s, 1e-9)
        worker = f"{mark.worker.rss_mib:.0f} MiB" if mark.worker else "none"
        return (
            f"soak: frame {frame}, {mark.fps:.0f} fps, {compressed:.1f} times as fast as the show; "
            f"daemon {mark.daemon.rss_mib:.1f} MiB, {mark.daemon.num_fds} fds; worker {worker};"
        )
