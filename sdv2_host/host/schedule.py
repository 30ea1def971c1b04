"""The scheduler in the worker: what it knows of the engine, and what it has decided."""

from __future__ import annotations

from sdv2_host.clock import NS_PER_MS
from sdv2_host.host.backlog import ChunkWish
from sdv2_host.ipc.messages import Pace
from sdv2_host.params import Params
from sdv2_host.stream.slo import Load, SloState, StepTable, decide
from sdv2_host.types import Engine, Shape

FILL_MARGIN = 1.5
"""A source may take so many times longer to fill a longer chunk than its rate says."""
MAX_PATIENCE_MS = 60_000.0
"""But no longer than this: a target rate of next to nothing would wait for ever."""
STALL_CHUNKS = 1.5
"""A source that is silent for as long as it takes to fill so many chunks has stalled."""
UNKNOWN_REST_MS = 500.0
"""How long a source is silent that has stalled, where it has not shown its rate yet."""


class Schedule:
    """Asked before each chunk, while there is none ten times a second, told after it. Used by the
    worker's thread.

    Fields, per process: the table, corrected by what steps take; the newest decision; what it was
    made for; steps since the shape changed last; whether lock-step frames come; whether a batch
    may hold back pictures.
    """

    def __init__(self, engine: Engine, params: Params) -> None:
        as_started = Shape(engine.chunk_frames, engine.layout, params.steps)
        self._table = StepTable(as_started, engine.step_ms, engine.most_behind)
        self._state = SloState(as_started)
        self._shape = as_started
        self._load = Load(params.steps)
        self._previous = as_started
        self._num_equal = 0
        self._is_lockstep = False
        self._may_owe = False

    @property
    def says(self) -> str:
        """What is done to keep the rate, and why; '' = there is nothing to decide."""
        return self._state.says

    @property
    def pace(self) -> Pace | None:
        """What a slower decision about the whole engine is made with; None = not known yet."""
        load = self._load
        if not self._table.is_learnt or not load.source_fps:
            return None
        return Pace(
            source_fps=load.source_fps,
            slowdown=self._table.slowdown,
            is_lockstep=self._is_lockstep,
        )

    def plan(self, params: Params, source_fps: float, num_waiting: int) -> ChunkWish:
        """What to wait for; the decision for the next chunk is made."""
        is_lockstep = self._is_lockstep
        load = Load.of(params, source_fps, is_lockstep=is_lockstep, num_waiting=num_waiting)
        decision = decide(self._state, self._table, load)
        self._state, self._shape, self._load = decision.state, decision.shape, load
        return self._wish(load)

    def shape_of(self, num_frames: int, params: Params, *, is_lockstep: bool) -> Shape:
        """How a chunk of so many frames, which were waited for, is to be made.

        `params` may be newer than those of `plan`.
        """
        self._is_lockstep = is_lockstep
        shape = self._shape._replace(chunk_frames=num_frames)
        if is_lockstep:
            return self._table.base(params.steps)._replace(chunk_frames=num_frames)
        return shape if params.steps == self._load.steps else shape._replace(steps=params.steps)

    def took(
        self,
        shape: Shape,
        begin_ns: int,
        end_ns: int,
        *,
        is_usual: bool,
        is_behind: bool = False,
    ) -> None:
        """A chunk of this shape was made, from its frames to its pictures. Not to these where the
        engine `is_behind`: it owes some, whatever the shape says.

        Not `is_usual`: the first of a session, or one with work that no other has.
        """
        self._num_equal = self._num_equal + 1 if shape == self._previous else 0
        self._previous = shape
        self._may_owe = shape.late_chunks > 0 or is_behind
        # A change finishes what is in flight, and a batch fills in as many steps as it has rows.
        if is_usual and self._num_equal > shape.late_chunks:
            self._table = self._table.observed(shape, (end_ns - begin_ns) / NS_PER_MS)

    def owes_pictures(self, now_ns: int, newest_ns: int) -> bool:
        """A batch holds back pictures until further chunks come, and the source has stalled.

        `newest_ns` is when its newest frame came: the engine may have been busy since.

        True once after each chunk. Lock-step clients reckon with pictures that are held back.
        """
        load, shape = self._load, self._previous
        chunk_ms = 1000 * shape.chunk_frames / load.fps if load.fps else 0.0
        silent_ms = (now_ns - newest_ns) / NS_PER_MS
        is_due = self._may_owe and not self._is_lockstep and silent_ms > STALL_CHUNKS * chunk_ms
        if is_due:
            self._may_owe = False
            self._num_equal = 0  # the batch fills anew
        return is_due

    def _wish(self, load: Load) -> ChunkWish:
        base_frames = self._table.as_started.chunk_frames
        num_frames = self._shape.chunk_frames
        patience_ms = FILL_MARGIN * num_frames * 1000 / load.fps if load.fps else 0.0
        patience_ms = min(patience_ms, MAX_PATIENCE_MS)
        return ChunkWish(
            num_frames,
            base_frames,
            patience_ns=round(patience_ms * NS_PER_MS),
            max_age_ns=round(self._max_age_ms(load) * NS_PER_MS),
            rest_ns=round(self._rest_ms(load, base_frames) * NS_PER_MS),
            may_wait=self._state.holds,
        )

    def _rest_ms(self, load: Load, base_frames: int) -> float:
        """Before pictures that are held back become due, so that the rest is among them."""
        return min(base_frames * 1000 / load.fps, MAX_PATIENCE_MS) if load.fps else UNKNOWN_REST_MS

    def _max_age_ms(self, load: Load) -> float:
        """Of a frame that is still in time for the latency bound; 0 = there is none."""
        if not load.latency_bound_ms:
            return 0.0
        still_ms = self._table.after_start_ms(self._shape, load.fps)
        return max(1.0, load.latency_bound_ms - still_ms)
