"""The SLO-aware scheduler: how long chunks are, how steps share the device, how many there are.

Pure: no torch, no clock. A step takes `table.ms(shape)`, measured at warm-up and followed since.

The paper models L(T, B) ~ (A(T, B) + P) / (eta BW), activations and weights over bandwidth, and
the rate f = B T / L(T, B) in frame-steps per second. A picture takes n steps, so a batch of B = n
rows finishes T frames per call, and serial steps are n calls with B = 1: either way one
`Engine.step` finishes T frames, and f in pictures is T over its time. L is not assumed but
measured, because one latent frame is compute-bound on current devices and the model's gain by
larger B T is smaller than bandwidth alone would say.

What is chosen, the knee: of the shapes within the latency limit, the one with the most steps and
then the least latency whose rate meets the load; where none meets it, the highest rate that is
worth its latency. Without a bound of the user's, latency is only traded for a rate that is met, and
at most doubled.

Source: StreamDiffusionV2, section 4.1 "SLO-aware batching scheduler".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from sdv2_host.params import Params, SloMode, allows
from sdv2_host.types import Layout, Shape

STEP_LADDER = (4, 2, 1)
MAX_GROWTH = 2.0
"""Without a bound, the latency of a longer chunk or a batch over that of the shape as started."""
WORTH = 1.05
"""Rates nearer to each other than this are equal; then steps and latency decide."""
PRICE = 0.105
"""Where no rate meets the load, twice the latency must bring 7.5 % more pictures: 2 to this power.
On a 4090 chunks twice as long bring 6 %, on an H100 they bring 11 % (1.3B, four steps)."""
SPARE_BUSY = 1.05
"""A shape is changed to for its rate when that is so much more than needed..."""
SPARE_CALM = 1.15
"""...and left for a better one that has so much to spare: 10 % of noise in step times moves
neither. Only one that is below 1.0 is in need of a change. The same holds for its latency."""
AIM = 0.95
"""Of the user's bound: the rest is for what steps take more than they usually do."""
BUSY_CHUNKS = 2
CALM_CHUNKS = 12
"""Decisions in a row that must wish for the same change before it is made."""
LEARNING_STEPS = 5
"""The first steps count by their median: the machine may have been busy while it warmed up."""
SMOOTHING = 0.2
MAX_ERROR = 0.3
"""More error than this in one step is a spike, and counts as this."""
NEWS = 0.1
"""Relative change of a rate that is worth another sentence."""


@dataclass(frozen=True, slots=True)
class StepTable:
    """What a step takes, by shape; what the engine cannot do is not in it."""

    as_started: Shape
    """The shape the host was started with; its steps do not matter."""
    step_ms: Mapping[Shape, float]
    """As measured at warm-up."""
    most_behind: int = 0
    """Of the engine: calls that a picture comes later than its own, where stages overlap."""
    slowdown: float = 1.0
    """Of the device since then, smoothed; the same for all shapes."""
    first_ratios: tuple[float, ...] = ()
    """Times of the first steps over those in the table, LEARNING_STEPS at most."""

    @property
    def is_learnt(self) -> bool:
        """Enough steps were made to put right what a busy machine measured at warm-up."""
        return len(self.first_ratios) >= LEARNING_STEPS

    def ms(self, shape: Shape) -> float:
        return self.step_ms[shape] * self.slowdown

    def fps(self, shape: Shape) -> float:
        """Pictures per second that steps of this shape finish, back to back."""
        return 1000 * shape.chunk_frames / self.ms(shape)

    def latency_ms(self, shape: Shape, fps: float) -> float:
        """From the coming of a chunk's oldest frame to its picture, with a source of `fps`.

        The chunk fills, in a batch further chunks follow, and the last call takes its time. An
        engine that is behind takes frames from all of that time, as far apart as it can do.
        """
        filling_ms = (shape.chunk_frames - 1) * self._interval_ms(shape, fps)
        return filling_ms + self.after_start_ms(shape, fps)

    def after_start_ms(self, shape: Shape, fps: float) -> float:
        """From when a chunk is full to its pictures, at most; 0 for a shape never measured.

        Where stages overlap they come sooner while no other chunk is on its way.
        """
        if shape not in self.step_ms:
            return 0.0
        num_later = shape.chunk_frames * shape.late_chunks
        return num_later * self._interval_ms(shape, fps) + (1 + self.most_behind) * self.ms(shape)

    def _interval_ms(self, shape: Shape, fps: float) -> float:
        return max(1000 / fps if fps else 0.0, self.ms(shape) / shape.chunk_frames)

    def base(self, steps: int) -> Shape:
        """The chunks and layout as started."""
        return self.as_started._replace(steps=steps)

    def observed(self, shape: Shape, took_ms: float) -> StepTable:
        """The table after a step of this shape took so long."""
        if shape not in self.step_ms:
            return self
        if not self.is_learnt:
            ratios = (*self.first_ratios, took_ms / self.step_ms[shape])
            return replace(self, slowdown=median(ratios), first_ratios=ratios)
        error = took_ms / self.ms(shape) - 1
        correction = SMOOTHING * min(max(error, -MAX_ERROR), MAX_ERROR)
        return replace(self, slowdown=self.slowdown * (1 + correction))


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the engine at a chunk boundary."""

    steps: int
    """Denoising steps, as the user has set them."""
    source_fps: float = 0.0
    """0 = not known yet."""
    target_fps: float = 0.0
    """0 = all of the source's."""
    latency_bound_ms: float = 0.0
    """0 = none."""
    num_waiting: int = 0
    """Frames that came and no chunk got yet."""
    mode: SloMode = "chunks"
    is_lockstep: bool = False
    """Someone waits for each picture and reckons with the delay as started."""

    @classmethod
    def of(
        cls, params: Params, source_fps: float, *, is_lockstep: bool, num_waiting: int = 0
    ) -> Load:
        """What these parameters ask."""
        return cls(
            steps=params.steps,
            source_fps=source_fps,
            target_fps=params.target_fps,
            latency_bound_ms=params.latency_bound_ms,
            num_waiting=num_waiting,
            mode=params.slo_mode,
            is_lockstep=is_lockstep,
        )

    @property
    def fps(self) -> float:
        """Frames per second that chunks are to be made of."""
        return min(self.source_fps, self.target_fps) if self.target_fps else self.source_fps


@dataclass(frozen=True, slots=True)
class SloState:
    """What survives a decision. Lifetime: a process."""

    shape: Shape
    holds: bool = True
    """The shape meets the load."""
    wish: Shape | None = None
    """What would be better..."""
    wish_chunks: int = 0
    """...since so many decisions."""
    says: str = ""
    """One line for a person: what is done and why."""
    said_fps: tuple[float, float] = (0.0, 0.0)
    """The rates that the line speaks of: possible, wanted."""


class Decision(NamedTuple):
    state: SloState
    shape: Shape
    """Of the next chunk. Longer than the state's for once, where the engine keeps up and a
    spike has left frames."""
    has_changed: bool
    """Another state's shape than before."""


def allowed_shapes(table: StepTable, load: Load) -> list[Shape]:
    """The shapes that may be chosen, that of the start first."""
    base = table.base(load.steps)
    if load.mode == "off" or load.is_lockstep or base not in table.step_ms or not load.fps:
        return [base]
    may_fall = allows(load.mode, "steps")
    fewer = {steps for steps in STEP_LADDER if steps < load.steps and may_fall}
    others = [s for s in table.step_ms if s.steps in {load.steps, *fewer} and s != base]
    return [base, *others]


def latency_limit_ms(table: StepTable, load: Load) -> float:
    """What a chosen shape may need from a frame to its picture."""
    if load.latency_bound_ms:
        return AIM * load.latency_bound_ms
    return MAX_GROWTH * table.latency_ms(table.base(load.steps), load.fps)


def knee(table: StepTable, load: Load, spare: float = 1.0) -> Shape:
    """The best shape for a load that does not change; see the top of the file.

    `spare`: what rates must be over the load, and latencies under the limit.
    """
    shapes = allowed_shapes(table, load)
    base = shapes[0]
    if len(shapes) == 1:
        return base
    latency_ms = {shape: table.latency_ms(shape, load.fps) for shape in shapes}
    limit_ms = latency_limit_ms(table, load) / spare
    within = [shape for shape in shapes if latency_ms[shape] <= limit_ms]
    within = within or [min(shapes, key=lambda shape: latency_ms[shape])]
    meeting = [shape for shape in within if table.fps(shape) >= spare * load.fps]
    if not meeting and not load.latency_bound_ms:
        within = [shape for shape in shapes if shape == base._replace(steps=shape.steps)]
    if not meeting:
        fps_of_best = table.fps(
            max(within, key=lambda one: table.fps(one) / latency_ms[one] ** PRICE)
        )
        meeting = [shape for shape in within if table.fps(shape) * WORTH >= fps_of_best]
    return max(meeting, key=lambda shape: (shape.steps, -latency_ms[shape]))


def decide(state: SloState, table: StepTable, load: Load) -> Decision:
    """The shape of the next chunk, and the state after it."""
    shapes = allowed_shapes(table, load)
    current = state.shape
    if current not in shapes:  # other steps were asked for, or nothing but the start's is allowed
        state, current = replace(state, shape=shapes[0], wish=None), shapes[0]
        has_changed = True
    else:
        has_changed = False
    if len(shapes) == 1:
        return Decision(replace(state, wish=None, holds=True, says=""), current, has_changed)
    holds = _holds(table, load, current)
    best = _better(table, load, current, holds)
    wish_chunks = state.wish_chunks + 1 if best == state.wish else 1
    state = replace(state, wish=best, wish_chunks=wish_chunks)
    patience = CALM_CHUNKS if holds else BUSY_CHUNKS
    if best is not None and wish_chunks >= patience:
        current, has_changed = best, True
        state = replace(state, shape=best, wish=None)
        holds = _holds(table, load, best)
    state = _tell(state, table, load, holds, has_changed)
    shape = _for_once_longer(table, load, current) if holds else current
    return Decision(state, shape, has_changed)


def _holds(table: StepTable, load: Load, shape: Shape) -> bool:
    keeps_limit = table.latency_ms(shape, load.fps) <= latency_limit_ms(table, load)
    return keeps_limit and table.fps(shape) >= load.fps


def _nearly_holds(table: StepTable, load: Load, shape: Shape) -> bool:
    """But for what noise does to a rate."""
    keeps_limit = table.latency_ms(shape, load.fps) <= latency_limit_ms(table, load)
    return keeps_limit and table.fps(shape) * SPARE_BUSY >= load.fps


def _better(table: StepTable, load: Load, current: Shape, holds: bool) -> Shape | None:
    """The shape to change to, None = this one is right."""
    best = knee(table, load, SPARE_CALM if holds else SPARE_BUSY)
    if best == current:
        return None
    if holds and table.fps(best) < SPARE_CALM * load.fps:
        return None  # the knee of an engine without so much to spare: the load is met as it is
    if not holds and _nearly_holds(table, load, current) and table.fps(best) < load.fps:
        return None  # nothing meets the load now, and back again is what noise would ask for next
    has_more_steps = best.steps > current.steps
    if holds and not has_more_steps:
        is_sooner = table.latency_ms(best, load.fps) < table.latency_ms(current, load.fps)
        return best if is_sooner and best.steps == current.steps else None
    return best


def _for_once_longer(table: StepTable, load: Load, shape: Shape) -> Shape:
    """Frames that a spike has left go into one longer chunk instead of being dropped."""
    if shape.layout is Layout.BATCH or load.num_waiting <= shape.chunk_frames:
        return shape
    limit_ms = latency_limit_ms(table, load)
    longer = [
        other
        for other in allowed_shapes(table, load)
        if shape.chunk_frames < other.chunk_frames <= load.num_waiting
        and other._replace(chunk_frames=shape.chunk_frames) == shape
        and table.latency_ms(other, load.fps) <= limit_ms
        and table.fps(other) >= table.fps(shape)
    ]
    return max(longer, key=lambda other: other.chunk_frames, default=shape)


def _tell(
    state: SloState, table: StepTable, load: Load, holds: bool, has_changed: bool
) -> SloState:
    """The state with a line that is true now, the same one while nothing is new."""
    fps = (table.fps(state.shape), load.fps)
    has_news = any(
        abs(now - said) > NEWS * said for now, said in zip(fps, state.said_fps, strict=True)
    )
    if state.says and holds == state.holds and not has_changed and not has_news:
        return state
    says = _sentence(table, load, state.shape, holds)
    return replace(state, holds=holds, says=says, said_fps=fps)


def _sentence(table: StepTable, load: Load, shape: Shape, holds: bool) -> str:
    base = table.base(load.steps)
    can = f"{shape}: {table.fps(shape):.0f} fps possible, {load.fps:.0f} wanted"
    if holds and shape == base:
        return f"{can}; as started"
    if holds:
        return f"{can}; as started ({base}) it would be {table.fps(base):.0f}"
    if table.fps(shape) >= load.fps:
        latency_ms = table.latency_ms(shape, load.fps)
        return f"{can}; nothing is sooner than {latency_ms:.0f} ms, over the latency bound"
    remedy = ""
    if load.mode == "chunks" and load.steps > 1:
        remedy = "; slo_mode steps would allow fewer steps"
    elif not allows(load.mode, "size"):
        remedy = "; slo_mode size would allow a smaller size"
    return f"{can}; the others are dropped evenly{remedy}"
