"""The product with its slow decision too: other autoencoders and sizes, prepared in the middle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sdv2_host.bench.slo_devices import ASKED, VAES, StageTimes
from sdv2_host.bench.slo_simulation import Chunk, NewestWins, SimulatedEngine
from sdv2_host.clock import NS_PER_S
from sdv2_host.host.setup_desk import SetupDesk
from sdv2_host.params import Params, SloMode
from sdv2_host.stream.setups import Coding, Setup, ladder_of
from sdv2_host.stream.slo import StepTable
from sdv2_host.types import Layout, Shape

CHUNK_FRAMES = 4
SHARED = 2.0
"""Two workers on one device: each takes so many times as long."""


@dataclass(slots=True)
class Change:
    """A setup that is prepared, and when that will be done."""

    setup: Setup
    done_ns: int


@dataclass(slots=True)
class SetupLog:
    """What came of it."""

    frames: dict[Setup, int] = field(default_factory=dict)
    """That were given to an engine, by its setup."""
    num_changes: int = 0
    settled_s: float = 0.0
    """When the last engine took over, 0 = it is the first one's still."""
    is_preparing: bool = False
    """Another engine, not ready yet."""
    preparing_s: float = 0.0
    num_lost: int = 0
    """Frames that were in the batch of an engine when the next took over."""
    dropped: int = 0
    """By the intakes of engines before the one at work."""

    def to_json(self) -> dict[str, Any]:
        total = sum(self.frames.values())
        shares = {f"{one.vae} {one.size}": num / total for one, num in self.frames.items()}
        return {
            "shares": shares,
            "changes": self.num_changes,
            "settled_s": self.settled_s,
            "preparing_s": self.preparing_s,
            "lost": self.num_lost,
        }


class ChangingSetups:
    """Worker after worker, each the product's own, as `SetupDesk` asks for them.

    A worker that takes over begins as the real one: its table was measured while it shared the
    device, its intake with nothing.
    """

    def __init__(self, times: StageTimes, params: Params, engine: SimulatedEngine) -> None:
        self._times = times
        self._params = params
        self._prepare_ns = round(times.prepare_s * NS_PER_S)
        self._engine = engine
        self._worker = NewestWins(engine.times, params)
        self._measured_at = 1.0
        self._desk = SetupDesk(ASKED, lambda: VAES)
        self._desk.began(ASKED, self._table(), 0.0)
        self._setup = ASKED
        self._change: Change | None = None
        self.log = SetupLog()

    @property
    def num_waiting(self) -> int:
        return self._worker.num_waiting

    @property
    def num_dropped(self) -> int:
        return self.log.dropped + self._worker.num_dropped

    @property
    def says(self) -> str:
        return "; ".join(line for line in (self._desk.says, self._worker.says) if line)

    def push(self, number: int, time_ns: int) -> None:
        self._worker.push(number, time_ns)

    def next(self, now_ns: int) -> Chunk | None:
        change = self._change
        if change is not None and now_ns >= change.done_ns:
            self._take_over(change.setup, now_ns)
        chunk = self._worker.next(now_ns)
        if chunk is not None:
            self.log.frames[self._setup] = self.log.frames.get(self._setup, 0) + len(chunk.numbers)
        return chunk

    def took(self, chunk: Chunk, begin_ns: int, end_ns: int) -> None:
        self._worker.took(chunk, begin_ns, end_ns)
        pace, times = self._worker.pace, self._engine.times
        if pace is None:
            return
        slowness = pace.slowdown * self._measured_at / CHUNK_FRAMES
        coding = Coding(times.encode_ms * slowness, times.decode_ms * slowness)
        wanted = self._desk.told(pace, coding, self._params, end_ns / NS_PER_S)
        if wanted is not None:
            self._change = Change(wanted, end_ns + self._prepare_ns)
            self._engine.slowness = SHARED
            self.log.num_changes += 1
            self.log.is_preparing = True
            self.log.preparing_s += self._prepare_ns / NS_PER_S

    def owes_pictures(self, now_ns: int) -> bool:
        return self._worker.owes_pictures(now_ns)

    def _take_over(self, setup: Setup, now_ns: int) -> None:
        self.log.settled_s, self.log.is_preparing = now_ns / NS_PER_S, False
        self.log.dropped += self._worker.num_dropped + self._worker.num_waiting
        self.log.num_lost += sum(len(chunk.numbers) for chunk in self._engine.in_flight)
        self._setup, self._change = setup, None
        self._engine.begin(self._times.at(setup))
        self._measured_at = SHARED
        table = self._table()
        self._worker = NewestWins(self._engine.times, self._params, step_ms=table.step_ms)
        self._desk.began(setup, table, now_ns / NS_PER_S)

    def _table(self) -> StepTable:
        step_ms = self._engine.times.step_ms()
        measured = {shape: ms * self._measured_at for shape, ms in step_ms.items()}
        return StepTable(Shape(CHUNK_FRAMES, Layout.SERIAL, self._params.steps), measured)


def cheapest(times: StageTimes, mode: SloMode) -> StageTimes:
    """The allowed setup whose steps are the fastest, of any shape: the last one. For the oracle."""
    return times.at(ladder_of(ASKED, VAES, mode)[-1])
