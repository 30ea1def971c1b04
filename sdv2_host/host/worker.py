"""The worker process: `python -m sdv2_host.host.worker`, started by the daemon's supervisor.

Reads messages from stdin and answers on what was stdout (`ipc/messages.py`). The main thread owns
the engine and is the only one to touch its device. Ends when told to, when stdin closes (then the
daemon is gone, however it died) and on an error, which it reports first.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import psutil

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.errors import AlreadyRunningError, ProtocolError
from sdv2_host.host.child_side import ChildExit, Send, die_with_daemon, exit_child, run_child
from sdv2_host.host.engines import build_engine
from sdv2_host.host.intake import Intake, IntakeChunk
from sdv2_host.host.outlet import WORK_RING_SLOTS, Outlet
from sdv2_host.host.schedule import Schedule
from sdv2_host.host.show_engine import RecordedEngine, ShowNews
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.messages import (
    MAX_LINE_BYTES,
    Configure,
    Heartbeat,
    Problem,
    Progress,
    Ready,
    Report,
    SetParams,
    ShowTold,
    decode_to_worker,
)
from sdv2_host.types import Engine, ProgressFn, StyledChunk

IDLE_S = 0.1
"""Without input, the time between two looks at the messages, and between heartbeats."""
COLLECT_S = 0.002
"""The same while the engine owes pictures: between two looks for those, which so come that much
later at most. A look costs microseconds."""
GRACE_S = 0.7
"""Time for the chunk in hand after the daemon vanished; then the process ends regardless."""
MAX_PROBLEM_CHARS = 2000
TAKEOVER_S = 3.0
"""Time for the worker of a killed daemon to let go of the work ring."""
BuildEngine = Callable[[Config, ProgressFn], Engine]
"""`build_engine`, or what a bench has in its place."""


class Inbox:
    """The daemon's messages: the newest parameters and whether to stop. Owns one thread.

    Why a thread: reading a pipe blocks, and the main thread must neither block nor poll a pipe in
    a way that differs per operating system (Windows cannot select on one). The thread also ends
    the process when the daemon is gone and the main thread is stuck in a model load or a chunk.
    """

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._newest: Configure | SetParams = _configure(lines)
        self.configure: Configure = self._newest
        self._stop = threading.Event()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def newest(self) -> Configure | SetParams:
        """Carries the parameters for the next chunk and their version."""
        return self._newest

    def wait_stopped(self, timeout_s: float) -> bool:
        return self._stop.wait(timeout_s)

    def _read(self) -> None:
        try:
            self._read_until_stop()
        finally:
            self._stop.set()
            time.sleep(GRACE_S)
            # The main thread is stuck: nothing can be closed in an orderly way from here.
            os._exit(ChildExit.ABANDONED)

    def _read_until_stop(self) -> None:
        while line := self._lines.readline(MAX_LINE_BYTES + 1):
            message = decode_to_worker(line)
            if not isinstance(message, SetParams):
                return
            self._newest = message


def _configure(lines: BinaryIO) -> Configure:
    message = decode_to_worker(lines.readline(MAX_LINE_BYTES + 1))
    if not isinstance(message, Configure):
        raise ProtocolError(f"daemon: first message is {message.kind!r}, expected 'configure'")
    return message


def main(send: Send) -> None:
    """Run until stopped."""
    run(Inbox(sys.stdin.buffer), send)


def run(inbox: Inbox, send: Send, build: BuildEngine = build_engine) -> None:
    """Warm the engine, then style chunk after chunk until the inbox says stop.

    Raises:
        HostError: no engine, or no shared memory.
    """
    config = inbox.configure.config
    run_dir = Path(inbox.configure.run_dir) if inbox.configure.run_dir else None

    def progress(text: str, fraction: float) -> None:
        send(Progress(text=text, fraction=fraction))

    begin_ns = now_ns()
    die_with_daemon(True)
    bare_engine = build(config, progress)
    bare_engine.warm_up(inbox.configure.params, progress)
    engine = RecordedEngine(bare_engine, config, inbox.configure.params)
    # Weights and code live as long as the process: keep the collector from walking them.
    gc.collect()
    gc.freeze()
    stream = inbox.configure.work_stream
    with (
        engine,
        Outlet(_open_work_ring(stream, run_dir, _work_slots(engine), inbox)) as outlet,
        Intake(
            FrameReader(config.input_stream, run_dir=run_dir),
            engine.first_chunk_frames,
            engine.chunk_frames,
        ) as intake,
    ):
        die_with_daemon(False)
        send(_ready(engine, begin_ns))
        problem = ""
        schedule = Schedule(engine, inbox.newest.params)
        while not inbox.is_stopped:
            engine.follow(inbox.newest.params)
            turn = style_chunk(inbox, engine, intake, outlet, schedule)
            send(turn.message)
            for news in engine.take_news():
                send(_show_told(news))
            if turn.problem is not None and turn.problem != problem:
                problem = turn.problem
                send(Problem(text=problem[:MAX_PROBLEM_CHARS]))


class Turn(NamedTuple):
    """What one turn of the loop has to tell."""

    message: Report | Heartbeat
    problem: str | None
    """The engine's and the outlet's, '' = there is none; None = nothing was styled."""


class Orders(Protocol):
    """What a turn asks of the `Inbox`."""

    @property
    def newest(self) -> Configure | SetParams: ...

    def wait_stopped(self, timeout_s: float) -> bool: ...


def style_chunk(
    inbox: Orders,
    engine: Engine,
    intake: Intake,
    outlet: Outlet,
    schedule: Schedule,
    idle_s: float = IDLE_S,
) -> Turn:
    """One turn: take a chunk, style it with the newest parameters, publish it.

    Without one, or paused, it takes `idle_s`.
    """
    params = inbox.newest.params
    wish = schedule.plan(params, intake.source_fps, intake.counts.queue_depth)
    intake.follow(params.target_fps, wish)
    if params.pause:
        intake.discard()
        outlet.heartbeat()
        inbox.wait_stopped(idle_s)
        return Turn(Heartbeat(), None)
    chunk = _next_chunk(inbox, engine, intake, outlet, idle_s)
    if chunk is None:
        if schedule.owes_pictures(now_ns(), intake.newest_ns):
            _publish(engine.finish(), inbox.newest.version, intake, outlet)
        outlet.heartbeat()
        return Turn(Heartbeat(), None)
    if chunk.begins_session:
        engine.reset()
        outlet.restart()
    snapshot = inbox.newest
    is_lockstep = any(frame.is_lockstep for frame in chunk.frames)
    shape = schedule.shape_of(len(chunk.frames), snapshot.params, is_lockstep=is_lockstep)
    begin_ns = now_ns()
    outlet.expect(chunk.frames, chunk.num_repeated)
    with_steps = snapshot.params.model_copy(update={"steps": shape.steps})
    styled = engine.step(chunk.frames, with_steps, shape.layout)
    _publish(styled, snapshot.version, intake, outlet)
    end_ns = now_ns()
    if styled.interval_ms:  # the engine goes on: it takes longer than the call, or not as long
        end_ns = begin_ns + round(styled.interval_ms * NS_PER_MS)
    is_usual = not chunk.begins_session and not styled.has_more_work
    schedule.took(shape, begin_ns, end_ns, is_usual=is_usual, is_behind=outlet.num_in_flight > 0)
    counts = intake.counts
    report = Report(
        version=snapshot.version,
        spans_ms=_finite(styled.spans_ms),
        took_ms=(end_ns - begin_ns) / NS_PER_MS,
        notes=_finite({**styled.notes, "chunk_frames": float(len(chunk.frames))}),
        frames_in=counts.frames_in,
        frames_out=counts.taken - outlet.num_lost,
        dropped=counts.dropped + outlet.num_lost,
        queue_depth=counts.queue_depth,
        rss_bytes=psutil.Process().memory_info().rss,
        no_room=outlet.problem[:MAX_PROBLEM_CHARS],
        pace=schedule.pace,
        schedule=schedule.says,
        look_serial=styled.look_serial,
        looks=styled.looks,
    )
    return Turn(report, "; ".join(filter(None, (styled.problem, outlet.problem))))


def _next_chunk(
    inbox: Orders, engine: Engine, intake: Intake, outlet: Outlet, idle_s: float
) -> IntakeChunk | None:
    """The next chunk, None after `idle_s`. Pictures that the engine has done meanwhile are shown
    as soon as they are there."""
    deadline_ns = now_ns() + round(idle_s * NS_PER_S)
    while True:
        left_s = max(0.0, (deadline_ns - now_ns()) / NS_PER_S)
        wait_s = left_s
        if outlet.num_in_flight:
            _publish(engine.collect(), inbox.newest.version, intake, outlet)
            wait_s = min(COLLECT_S, left_s)
        chunk = intake.next_chunk(wait_s)
        if chunk is not None or wait_s == left_s:
            return chunk


def _publish(styled: StyledChunk, version: int, intake: Intake, outlet: Outlet) -> None:
    outlet.publish(styled, version)
    if styled.ends_session:
        intake.begin_anew()


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Without what JSON cannot carry: a measure that is not known yet may be NaN."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _show_told(news: ShowNews) -> ShowTold:
    text = news.text[:MAX_PROBLEM_CHARS]
    return ShowTold(show=news.show, text=text, has_failed=news.has_failed)


def _ready(engine: Engine, begin_ns: int) -> Ready:
    ready_ns = now_ns()
    size = engine.size
    return Ready(
        engine=engine.name,
        warmup_ms=(ready_ns - begin_ns) / NS_PER_MS,
        ready_ns=ready_ns,
        width=size.width if size else 0,
        height=size.height if size else 0,
        first_chunk_frames=engine.first_chunk_frames,
        chunk_frames=engine.chunk_frames,
        delay_frames=engine.delay_frames,
        layout=engine.layout.value,
        step_ms={str(shape): round(ms, 1) for shape, ms in engine.step_ms.items()},
    )


def _work_slots(engine: Engine) -> int:
    """Longer chunks come with more frames at once, and a batch that ends with those in flight."""
    longest = max((shape.chunk_frames for shape in engine.step_ms), default=engine.chunk_frames)
    usual = max(WORK_RING_SLOTS, engine.delay_frames + 1)
    return usual + longest - engine.chunk_frames


def _open_work_ring(stream: str, run_dir: Path | None, num_slots: int, inbox: Inbox) -> FrameWriter:
    deadline_ns = now_ns() + int(TAKEOVER_S * 1e9)
    while True:
        try:
            return FrameWriter(stream, slot_count=num_slots, run_dir=run_dir)
        except AlreadyRunningError:
            if now_ns() > deadline_ns or inbox.wait_stopped(0.05):
                raise


if __name__ == "__main__":
    exit_child(run_child("worker", main))
