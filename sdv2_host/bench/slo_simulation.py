"""A host in simulated time: the product's own backlog and schedule, an engine of step times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from sdv2_host.bench.slo_devices import StageTimes
from sdv2_host.bench.slo_world import World
from sdv2_host.clock import NS_PER_MS
from sdv2_host.host.backlog import Backlog
from sdv2_host.host.engines import PassthroughEngine
from sdv2_host.host.intake import PATIENCE_CHUNKS
from sdv2_host.host.schedule import Schedule
from sdv2_host.host.source_rate import SourceRate
from sdv2_host.ipc.messages import Pace
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Layout, Shape

PIXELS = np.zeros((1, 1, 4), np.uint8)
LOOK_NS = 20 * NS_PER_MS
"""How long the intake waits at most before it looks and plans again."""


class Chunk(NamedTuple):
    numbers: list[int]
    """Of its frames, from 1."""
    shape: Shape


class Host(Protocol):
    """What decides: which frames make the next chunk, and how."""

    @property
    def num_waiting(self) -> int: ...

    def push(self, number: int, time_ns: int) -> None: ...

    def next(self, now_ns: int) -> Chunk | None:
        """None = too few frames came."""

    def took(self, chunk: Chunk, begin_ns: int, end_ns: int) -> None: ...

    def owes_pictures(self, now_ns: int) -> bool:
        """The engine shall give out what it holds back."""


class TableEngine(PassthroughEngine):
    """Step times and no pictures: what `Schedule` asks of an engine."""

    def __init__(self, step_ms: Mapping[Shape, float], layout: Layout) -> None:
        self.step_ms = step_ms
        self.layout = layout


class NewestWins:
    """The product: `Backlog` and `Schedule` as the worker uses them.

    With `slo_mode` off and a batch as started: the fixed batch."""

    def __init__(
        self,
        times: StageTimes,
        params: Params,
        layout: Layout = Layout.SERIAL,
        step_ms: Mapping[Shape, float] | None = None,
    ) -> None:
        """`step_ms` is what a warm-up measured, None = just what steps take."""
        self._params = params
        self._backlog = Backlog()
        self._rate = SourceRate()
        self._schedule = Schedule(TableEngine(step_ms or times.step_ms(), layout), params)
        self._num_chunks = 0
        self._num_without_wait = 0
        self._must_wait = False

    @property
    def num_waiting(self) -> int:
        return len(self._backlog.waiting)

    @property
    def num_dropped(self) -> int:
        return self._backlog.dropped

    @property
    def says(self) -> str:
        return self._schedule.says

    @property
    def pace(self) -> Pace | None:
        return self._schedule.pace

    def push(self, number: int, time_ns: int) -> None:
        meta = FrameMeta(1, 1, frame=number, publish_ts_ns=time_ns + 1)
        self._rate.push(meta)
        self._backlog.push(Frame(meta, PIXELS))

    def next(self, now_ns: int) -> Chunk | None:
        backlog, schedule = self._backlog, self._schedule
        backlog.follow(schedule.plan(self._params, self._rate.fps, self.num_waiting))
        count = backlog.next_count(1, now_ns)
        if not count:
            self._must_wait = True
            return None
        backlog.expire(now_ns, count)
        keeps_up = self._num_without_wait < PATIENCE_CHUNKS
        frames = backlog.take(count, keeps_up, self._rate.has_bursts)
        self._num_without_wait = 0 if self._must_wait else self._num_without_wait + 1
        self._must_wait = False
        shape = schedule.shape_of(count, self._params, is_lockstep=False)
        return Chunk([frame.meta.frame for frame in frames], shape)

    def took(self, chunk: Chunk, begin_ns: int, end_ns: int) -> None:
        self._num_chunks += 1
        self._schedule.took(chunk.shape, begin_ns, end_ns, is_usual=self._num_chunks > 1)

    def owes_pictures(self, now_ns: int) -> bool:
        return self._schedule.owes_pictures(now_ns, self._rate.newest_ns)


class UnboundedQueue:
    """The reference: first in, first out, nothing is ever dropped; a batch of all steps."""

    def __init__(self, steps: int) -> None:
        self._shape = Shape(4, Layout.BATCH, steps)
        self._waiting: list[int] = []

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def push(self, number: int, time_ns: int) -> None:
        del time_ns
        self._waiting.append(number)

    def next(self, now_ns: int) -> Chunk | None:
        del now_ns
        if len(self._waiting) < self._shape.chunk_frames:
            return None
        numbers = self._waiting[: self._shape.chunk_frames]
        self._waiting = self._waiting[self._shape.chunk_frames :]
        return Chunk(numbers, self._shape)

    def took(self, chunk: Chunk, begin_ns: int, end_ns: int) -> None:
        """It does not learn."""

    def owes_pictures(self, now_ns: int) -> bool:
        del now_ns
        return False


class Work(NamedTuple):
    work_ms: float
    """On an undisturbed device."""
    done: list[Chunk]
    """Those whose pictures are there after it."""


@dataclass(slots=True)
class SimulatedEngine:
    """What each step takes, the filling and draining of batches included."""

    times: StageTimes
    in_flight: list[Chunk] = field(default_factory=list)
    """Newest first, at steps 1, 2, 3...; the model's rows."""
    slowness: float = 1.0
    """While another one is prepared on the same device."""

    def begin(self, times: StageTimes) -> None:
        """Another engine is at work, alone on the device; what the one before held is lost."""
        self.times, self.in_flight, self.slowness = times, [], 1.0

    def step(self, chunk: Chunk) -> Work:
        shape = chunk.shape
        num_latents = max(1, shape.chunk_frames // 4)
        others = {(one.shape.layout, one.shape.steps) for one in self.in_flight}
        has_changed = bool(others) and others != {(shape.layout, shape.steps)}
        drained = self.finish() if has_changed else Work(0.0, [])
        work_ms = drained.work_ms + num_latents * self.times.encode_ms
        if shape.layout is Layout.SERIAL:
            work_ms += shape.steps * self.times.call_ms(num_latents)
            done = [chunk]
        else:
            self.in_flight.insert(0, chunk)
            work_ms += self.times.call_ms(len(self.in_flight))
            done = [self.in_flight.pop()] if len(self.in_flight) == shape.steps else []
        work_ms += len(done) * num_latents * self.times.decode_ms
        return Work(work_ms, drained.done + done)

    def finish(self) -> Work:
        """All rows go on until the last one is clean."""
        num_rows, done = len(self.in_flight), self.in_flight[::-1]
        self.in_flight = []
        calls_ms = sum(self.times.call_ms(rows) for rows in range(1, num_rows + 1))
        return Work(calls_ms + num_rows * self.times.decode_ms, done)


@dataclass(slots=True)
class Run:
    """What came of a world's frames."""

    latency_ms: dict[int, float] = field(default_factory=dict)
    """By frame number; of those whose pictures were made before the end."""
    most_waiting_chunks: float = 0.0
    shapes: dict[Shape, int] = field(default_factory=dict)
    """Frames that went into each."""
    num_changes: int = 0
    previous: Shape | None = None

    def saw(self, chunk: Chunk, num_waiting: int) -> None:
        """The chunk was taken of so many frames."""
        shape = chunk.shape
        # What waits came while the chunk before was the measure.
        length = max(shape.chunk_frames, self.previous.chunk_frames if self.previous else 4, 4)
        num_chunks = num_waiting / length
        self.most_waiting_chunks = max(self.most_waiting_chunks, num_chunks)
        self.shapes[shape] = self.shapes.get(shape, 0) + len(chunk.numbers)
        self.num_changes += self.previous is not None and self.previous != shape
        self.previous = shape


def simulate(host: Host, world: World, engine: SimulatedEngine) -> Run:
    """The host in that world with that engine, to its end."""
    run = Run()
    arrivals = world.arrivals_ns
    now_ns, num_come = 0, 0
    while now_ns < world.duration_ns:
        while num_come < len(arrivals) and arrivals[num_come] <= now_ns:
            num_come += 1
            host.push(num_come, arrivals[num_come - 1])
        num_waiting, begin_ns = host.num_waiting, now_ns
        chunk = host.next(now_ns)
        if chunk is None and host.owes_pictures(now_ns):
            work = engine.finish()
        elif chunk is None:
            next_ns = arrivals[num_come] if num_come < len(arrivals) else world.duration_ns
            now_ns = min(next_ns, now_ns + LOOK_NS)
            continue
        else:
            run.saw(chunk, num_waiting)
            work = engine.step(chunk)
        work_ms = work.work_ms * engine.slowness
        now_ns = round(world.end_ms(begin_ns / NS_PER_MS, work_ms) * NS_PER_MS)
        if chunk is not None:
            host.took(chunk, begin_ns, now_ns)
        if now_ns <= world.duration_ns:
            for number in (number for one in work.done for number in one.numbers):
                run.latency_ms[number] = (now_ns - arrivals[number - 1]) / NS_PER_MS
    return run
