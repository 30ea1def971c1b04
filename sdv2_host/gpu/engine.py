"""StreamEngine: a streaming pipeline behind the host's `Engine` seam. One thread uses it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from sdv2_host.gpu.chunk_work import ChunkWork, Finished, pixels_of
from sdv2_host.gpu.cpu_threads import CpuThreads
from sdv2_host.gpu.engine_memory import StreamMemory
from sdv2_host.gpu.headroom import Headroom
from sdv2_host.gpu.lanes import OneLane, lanes_of
from sdv2_host.gpu.look_shelf import LookShelf
from sdv2_host.gpu.lora_memory import advanced_
from sdv2_host.gpu.notes import Newest
from sdv2_host.gpu.number_guard import NumberGuard
from sdv2_host.gpu.out_of_memory import naming_memory
from sdv2_host.gpu.overlap import BUSY_LANES, ENOUGH_FPS, MOST_BEHIND, Overlap, Pace, measured_pace
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.step_times import SLOW_CHUNK_MS, compose, filling
from sdv2_host.gpu.timing import ChunkSpans
from sdv2_host.gpu.underway import Underway
from sdv2_host.gpu.warm_up import Rehearsed, blank_frames, measured_session, rehearse
from sdv2_host.params import Params
from sdv2_host.stream.lora import NO_LORAS, LoraMerge, NoLoras
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, Layout, ProgressFn, Shape, Size, StyledChunk, part_of
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.streaming_vae import StreamingVAE
from sdv2_host.wan.text import TextEncoder

log = logging.getLogger(__name__)

ANY_NUMBER = 1 << 30


class StreamModels(NamedTuple):
    """Weights of one engine, all on the spec's device and in its dtype."""

    dit: CausalWanModel
    vae: StreamingVAE
    text: TextEncoder
    lora: LoraMerge | NoLoras = NO_LORAS
    """Writes LoRAs into the weights of `dit`."""
    calls: ModelCalls | None = None
    """How `dit` and `vae` are called; None: their own code."""


CANNOT_RECACHE = (
    "recache window has no effect with --mode reference, whose cache cannot begin anew: the old "
    "look leaves it within a few chunks; --mode corrected can"
)


def _smaller() -> str:
    return "use a smaller --size"


class StreamEngine:
    """The streaming pipeline with one set of models, at one size.

    With Layout.BATCH a step may return no frames while the batch fills (`StyledChunk.frames`
    has T = 0) and more than it was given when the number of steps, the layout or the length of
    chunks changes; order is kept.
    """

    def __init__(
        self,
        name: str,
        models: StreamModels,
        spec: StreamSpec,
        first_chunk_frames: int = 1,
        advice: Callable[[], str] = _smaller,
        overlap: Overlap = "off",
        cpu: CpuThreads | None = None,
    ) -> None:
        """`advice` says what to do when memory runs out; it is asked only then. `cpu` None:
        torch's threads are as many as they are."""
        self.name = name
        self.first_chunk_frames = first_chunk_frames
        self._advice = advice
        self._spec = spec
        self._size = Size(spec.width_px, spec.height_px)
        self._overlap = overlap
        self._cpu = cpu
        self._serial = Underway(OneLane())
        # On a GPU streams cost nothing while a chunk is alone; on a CPU lanes share the threads.
        is_at_once = overlap == "on" or (overlap == "auto" and spec.device.type == "cuda")
        may = is_at_once or (overlap == "auto" and torch.get_num_threads() >= BUSY_LANES)
        self._lanes = Underway(lanes_of(spec.device)) if may else self._serial
        """Where stages of neighbouring chunks overlap, if anywhere."""
        self._underway = self._lanes if is_at_once else self._serial
        self._pace: Pace | None = None
        self._newest = Newest()
        self._guard = NumberGuard(name)
        self._staging = Staging(self._size, spec.device, spec.dtype)
        self._lora = models.lora
        self._step_ms: dict[Shape, float] = {}
        self._headroom = Headroom(spec.device)
        self._looks = LookShelf(self._spare_bytes)
        self._calls = models.calls or EagerCalls(models.dit, models.vae)
        self.pipeline = StreamPipeline(models.dit, models.vae, models.text, spec, calls=self._calls)
        with self._naming_memory():
            self._state = self.pipeline.fresh_state()
        self.memory = StreamMemory(self._state, self._looks, self._lora)

    @property
    def size(self) -> Size:
        return self._size

    @property
    def chunk_frames(self) -> int:
        return FRAMES_PER_LATENT

    @property
    def layout(self) -> Layout:
        return self._spec.layout

    @property
    def delay_frames(self) -> int:
        # A chunk's first frame waits for its others, and in a batch of as many steps as there are
        # rows for one chunk per further step; the first chunk of a session is done at once.
        late_chunks = self._spec.num_rows - 1 if self._spec.layout is Layout.BATCH else 0
        late_chunks += self.most_behind
        return max(self.first_chunk_frames, self.chunk_frames * (1 + late_chunks)) - 1

    @property
    def step_ms(self) -> Mapping[Shape, float]:
        return self._step_ms

    @property
    def most_behind(self) -> int:
        return 0 if self._underway is self._serial else MOST_BEHIND

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        """After this every part of the work has run once and `step_ms` is known; a reset ends it.

        Longer chunks for which there is no memory are not in `step_ms`.
        """
        num_passes = self._calls.num_rehearsals
        engine = Rehearsed(
            self._run_blank,
            self.reset,
            self._state.texts.forget_,
            self.first_chunk_frames,
            self._spec,
        )
        self._looks.skip(params.looks)
        if self._spec.device.type == "cpu":
            self._underway = self._serial  # what shapes take by themselves
        self.reset()
        self._headroom.begin()
        with self._naming_memory(), self._calls.preparing():
            kinds = 2 if num_passes > 1 else 1
            count = kinds * num_passes
            parts = (part_of(progress, k / count, (k + 1) / count) for k in range(count))
            for _ in range(num_passes):
                if kinds > 1:
                    rehearse(engine, params, next(parts))
                measured = measured_session(engine, params, next(parts))
            self._step_ms = compose(measured, self._spec)
            if self._lanes is not self._serial:
                self._choose_lanes(params)
        progress("warm", 1.0)
        self.reset()
        self._guard.warmed()
        self._headroom.measured()

    def _run_blank(self, count: int, params: Params, layout: Layout | None) -> dict[str, float]:
        return self._step(blank_frames(self._size, count), params, layout).spans_ms

    def _choose_lanes(self, params: Params) -> None:
        """Whether stages overlap is settled, and `step_ms` says what steps take then.

        A CPU on which chunks take seconds is not tried: that would take minutes.
        """
        is_asked = self._overlap == "on" or self._spec.device.type == "cuda"
        steps = min(params.steps, self._spec.num_rows)
        serial_ms = self._step_ms[Shape(self.chunk_frames, self.layout, steps)]
        is_enough = 1000 * self.chunk_frames / serial_ms >= ENOUGH_FPS
        if serial_ms > SLOW_CHUNK_MS or (is_enough and not is_asked):
            self._underway = self._lanes if is_asked else self._serial
            why = "is not measured, that would take minutes" if not is_enough else "is not needed"
            told = "on: what it gives" if is_asked else "off: it"
            log.info("overlap %s %s; a chunk takes %.0f ms", told, why, serial_ms)
            return
        params = params.model_copy(update={"steps": steps, "drift": "watch"})
        blank = blank_frames(self._size, self.chunk_frames)

        def on(underway: Underway, most_behind: int) -> None:
            self._underway = underway
            self._step(blank, params, None, most_behind)

        self._step(blank_frames(self._size, self.first_chunk_frames), params)
        for _ in filling(self._spec):
            on(self._underway, 0)
        pace = measured_pace(partial(on, self._serial), partial(on, self._lanes))
        if not is_asked and not pace.pays:
            self._underway = self._serial
            log.info("overlap off: %s; --overlap on would have it", pace)
            return
        self._underway, self._pace = self._lanes, pace
        self._step_ms = {shape: ms / pace.gain for shape, ms in self._step_ms.items()}
        log.info("overlap on: %s", pace)

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        """Spans: upload, encode, denoise, decode, download, and lora while one is being merged.

        Spans and notes are of the newest chunk that is done, notes as `notes_of` says. With
        overlap that is an earlier one, and the chunk's own pictures come later, as those of a batch
        do: a step waits only while another chunk is on its way.

        Raises:
            DeviceMemoryError: the device's memory ran out.
            ModelError: pictures are not finite numbers, however often the stream begins anew.
        """
        with self._naming_memory():
            return self._step(frames, params, layout, self.most_behind)

    @torch.inference_mode()
    def _step(
        self,
        frames: list[Frame],
        params: Params,
        layout: Layout | None = None,
        most_behind: int = 0,
    ) -> StyledChunk:
        if self._cpu is not None:
            self._cpu.heed_(frames, params)
        finished: list[Finished] = []
        if self._waits_for_all(params):
            finished += self._underway.take(0)
        spans = ChunkSpans(self._spec.device)
        problem = self._merge_loras_(params, spans)
        finished += self._do_looks_(params, finished)
        self._underway.give(self._work(spans), frames, params, layout)
        finished += self._underway.take(most_behind)
        problems = [problem, self._looks.problem]
        if params.recache == "window" and not self.pipeline.recaches(params):
            problems.append(CANNOT_RECACHE)
        return self._styled(finished, params, problems)

    def _work(self, spans: ChunkSpans) -> ChunkWork:
        return ChunkWork(self.pipeline, self._staging, self._state, spans)

    def _waits_for_all(self, params: Params) -> bool:
        """Whether what is on its way must be done before this chunk begins."""
        return (
            self.pipeline.waits_for_all(params)
            or self._lora.is_due(params)
            or self._looks.is_due(params.looks)
        )

    def _styled(
        self, finished: Sequence[Finished], params: Params, problems: list[str]
    ) -> StyledChunk:
        newest = self._newest
        finished, is_broken = self._guard.sift(finished)
        newest.see(finished)
        if params.drift != "off":
            problems.append(newest.drift_problem(self.pipeline.reanchors(params)))
        problems.append(self._guard.problem)
        styled = StyledChunk(
            pixels_of(finished, self._size),
            newest.spans_ms(),
            newest.notes if self._cpu is None else newest.notes | self._cpu.notes,
            "; ".join(filter(None, problems)),
            self._looks.serial,
            self._looks.names,
            0.0 if self._pace is None else self._underway.interval_ms(self._pace),
            tuple(one.part for one in finished),
        )
        return self._begun_anew(styled) if is_broken else styled

    def _begun_anew(self, styled: StyledChunk) -> StyledChunk:
        """Nothing of what the stream remembered is left, nor of its prompts' keys and values."""
        self.reset()
        self._state.texts.forget_()
        return replace(styled, ends_session=True)

    def _do_looks_(self, params: Params, before: list[Finished]) -> list[Finished]:
        """Looks are saved and recalled; frames of the chunks that were in flight before that.

        Not before a session's first chunk, which is of another length than those that follow a
        look, and not of a stream that has to begin anew; what is asked for then is done later.
        """
        if not self._looks.is_due(params.looks) or self._state.chunk_index == 0:
            return []
        finished = self._take_rest()
        if not all(one.is_sound for one in (*before, *finished)):
            return finished
        for order in self._looks.due(params.looks):
            self._looks.do_(order, self._state)
        return finished

    def _take_rest(self) -> list[Finished]:
        """All that is on its way, and all that a batch owes."""
        self._underway.give_rest(self._work(ChunkSpans(self._spec.device)))
        return self._underway.take(0)

    def collect(self) -> StyledChunk:
        with self._naming_memory():
            return self._pictures(self._underway.take(ANY_NUMBER))

    def finish(self) -> StyledChunk:
        with self._naming_memory():
            return self._pictures(self._take_rest())

    def _pictures(self, finished: list[Finished]) -> StyledChunk:
        """The next step tells the rest."""
        sound, is_broken = self._guard.sift(finished)
        self._newest.see(sound)
        parts = tuple(one.part for one in sound)
        styled = StyledChunk(pixels_of(sound, self._size), {}, {}, parts=parts)
        return self._begun_anew(styled) if is_broken else styled

    def _spare_bytes(self) -> int:
        """What a look may take: every step, and any prompt of it, still has what it needs."""
        num_in_flight = self._spec.num_rows - 1
        return self._headroom.spare_bytes() - self._state.texts.room_bytes(num_in_flight)

    def _merge_loras_(self, params: Params, spans: ChunkSpans) -> str:
        """Why the LoRAs are not as asked; '' = they are, or will be within some chunks."""
        if not self._lora.is_due(params):
            return self._lora.advance_(params).problem
        with spans.span("lora"):
            step = advanced_(self._lora, params)
        if step.changed_text:
            self._state.texts.forget_()
        self._state.has_new_weights |= step.has_settled
        return step.problem

    def reset(self) -> None:
        self._underway.drop()
        self._newest = Newest()
        self._state.reset_()

    def _naming_memory(self) -> AbstractContextManager[None]:
        return naming_memory(f"{self.name} at {self._size}", self._spec.device, self._advice)
