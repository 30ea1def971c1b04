"""StreamEngine: a streaming pipeline behind the host's `Engine` seam. One thread uses it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import DeviceMemoryError
from sdv2_host.gpu.headroom import Headroom
from sdv2_host.gpu.look_shelf import LookShelf
from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.step_times import (
    SLOW_CHUNK_MS,
    Measured,
    WarmUpStep,
    as_started,
    compose,
    filling,
    otherwise,
    rehearsal,
)
from sdv2_host.gpu.timing import SpanTimer
from sdv2_host.params import Params
from sdv2_host.stream.drift import LIMIT, MAX_ANCHORS
from sdv2_host.stream.lora import NO_LORAS, LoraMerge, NoLoras
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, Layout, ProgressFn, Shape, Size, StyledChunk
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.streaming_vae import StreamingVAE
from sdv2_host.wan.text import TextEncoder


class StreamModels(NamedTuple):
    """Weights of one engine, all on the spec's device and in its dtype."""

    dit: CausalWanModel
    vae: StreamingVAE
    text: TextEncoder
    lora: LoraMerge | NoLoras = NO_LORAS
    """Writes LoRAs into the weights of `dit`."""
    calls: ModelCalls | None = None
    """How `dit` and `vae` are called; None: their own code."""


DRIFT_TEXT = (
    f"the picture has drifted more than {LIMIT:g} times its own spread from how this look began: "
)
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
    ) -> None:
        """`advice` says what to do when memory runs out; it is asked only then."""
        self.name = name
        self.first_chunk_frames = first_chunk_frames
        self._advice = advice
        self._spec = spec
        self._size = Size(spec.width_px, spec.height_px)
        self._timer = SpanTimer(spec.device)
        self._staging = Staging(self._size, spec.device, spec.dtype)
        self._lora = models.lora
        self._step_ms: dict[Shape, float] = {}
        self._headroom = Headroom(spec.device)
        self._looks = LookShelf(self._spare_bytes)
        self._calls = models.calls or EagerCalls(models.dit, models.vae)
        self.pipeline = StreamPipeline(
            models.dit,
            models.vae,
            models.text,
            spec,
            span=self._timer.span,
            calls=self._calls,
        )
        with self._naming_memory():
            self._state = self.pipeline.fresh_state()

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
        return max(self.first_chunk_frames, self.chunk_frames * (1 + late_chunks)) - 1

    @property
    def step_ms(self) -> Mapping[Shape, float]:
        return self._step_ms

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        """After this every part of the work has run once and `step_ms` is known; a reset ends it.

        Longer chunks for which there is no memory are not in `step_ms`.
        """
        num_passes = self._calls.num_rehearsals
        self._looks.skip(params.looks)
        self.reset()
        self._headroom.begin()
        with self._naming_memory(), self._calls.preparing():
            for index in range(num_passes):

                def share(text: str, fraction: float, index: int = index) -> None:
                    progress(text, (index + fraction) / num_passes)

                if num_passes > 1:
                    self._rehearse(params)
                measured = self._warm_pass(params, share)
        self._step_ms = compose(measured, self._spec)
        progress("warm", 1.0)
        self.reset()
        self._headroom.measured()

    def _rehearse(self, params: Params) -> None:
        """What is not measured but may come in a show."""
        self._step(self._blank(self.first_chunk_frames), _with_steps(params, self._spec.num_rows))
        with _as_far_as_memory_goes():
            for (frames, layout, steps), replaces, is_new_text in rehearsal(self._spec):
                if is_new_text:
                    self._state.texts.forget_()
                changes = {"steps": steps, "sink_mode": "adaptive" if replaces else "fixed"}
                self._step(self._blank(frames), params.model_copy(update=changes), layout)
        self.reset()

    def _warm_pass(self, params: Params, progress: ProgressFn) -> list[Measured]:
        """A session with every shape in it."""
        fill, usual, others = (plan(self._spec) for plan in (filling, as_started, otherwise))
        num_steps = len(fill) + len(usual) + len(others)
        done = itertools.count(1)

        def run(steps: list[WarmUpStep], text: str) -> Iterator[Measured]:
            for one in self._measure(steps, params):
                progress(text, next(done) / num_steps)
                yield one

        self._step(self._blank(self.first_chunk_frames), _with_steps(params, 1))
        measured = list(run([*fill, *usual], "warming up"))[len(fill) :]
        if measured[0].step_ms < SLOW_CHUNK_MS:
            with _as_far_as_memory_goes():
                for one in run(others, "measuring step times"):
                    measured.append(one)
        self.reset()
        return measured

    def _measure(self, steps: list[WarmUpStep], params: Params) -> Iterator[Measured]:
        """Runs them, on blank pictures."""
        lag = self._timer.lag_chunks
        running: deque[tuple[WarmUpStep, float]] = deque()
        for step in [*steps, *steps[-1:] * lag]:
            frames, layout, num_steps = step.shape
            begin_ns = now_ns()
            styled = self._step(self._blank(frames), _with_steps(params, num_steps), layout)
            running.append((step, (now_ns() - begin_ns) / NS_PER_MS))
            if len(running) > lag:
                yield Measured(*running.popleft(), styled.spans_ms["denoise"])

    def _blank(self, count: int) -> list[Frame]:
        pixels = np.zeros((self._size.height, self._size.width, 4), dtype=np.uint8)
        return [Frame(FrameMeta(self._size.width, self._size.height), pixels)] * count

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        """Spans: upload, encode, denoise, decode, download, and lora while one is being merged.

        Notes: chunk, noise_scale, motion, steps, drift while it is watched, and recached, the
        frames of the past that were denoised once more, where there are any.

        Raises:
            DeviceMemoryError: the device's memory ran out.
        """
        with self._naming_memory():
            return self._step(frames, params, layout)

    @torch.inference_mode()
    def _step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        state, timer = self._state, self._timer
        problem = self._merge_loras_(params)
        early_BTCHW = self._do_looks_(params)
        chunk_index = state.chunk_index
        with timer.span("upload"):
            frames_BTCHW = self._staging.upload(frames)
        styled_BTCHW = self.pipeline.step(state, frames_BTCHW, params, layout)
        if early_BTCHW is not None:
            styled_BTCHW = torch.cat([early_BTCHW, styled_BTCHW], dim=1)
        with timer.span("download"):
            pixels = self._staging.download(styled_BTCHW)
        notes = {
            "chunk": float(chunk_index),
            "noise_scale": float(state.motion.noise_scale),
            "motion": float(state.motion.level),
            "steps": float(params.steps),
        }
        if state.num_recached:
            notes["recached"] = float(state.num_recached)
        problems = [problem, self._looks.problem]
        if params.recache == "window" and not self.pipeline.recaches(params):
            problems.append(CANNOT_RECACHE)
        if params.drift != "off":
            notes["drift"] = float(state.drift.level)
            problems.append(self._drift_problem(params))
        said = "; ".join(filter(None, problems))
        looks = (self._looks.serial, self._looks.names)
        return StyledChunk(pixels, timer.finish_chunk(), notes, said, *looks)

    def _drift_problem(self, params: Params) -> str:
        """What the watchdog says; the same as long as one drift, or one re-anchor, lasts."""
        drift = self._state.drift
        if not bool((drift.is_out > 0) | drift.is_anchoring):
            return ""
        if params.drift == "watch":
            return DRIFT_TEXT + "/sdv2/drift act would make the sinks new"
        if not self.pipeline.reanchors(params):
            return DRIFT_TEXT + "mode reference only watches it"
        if float(drift.num_anchors) < MAX_ANCHORS or bool(drift.is_anchoring):
            return DRIFT_TEXT + "the sinks are made new, a few chunks get more noise"
        return DRIFT_TEXT + f"{MAX_ANCHORS} re-anchors did not help, another seed or prompt may"

    def _do_looks_(self, params: Params) -> Tensor | None:
        """Looks are saved and recalled; frames of the chunks that were in flight before that.

        Not before a session's first chunk, which is of another length than those that follow a
        look; what is asked for then is done a chunk later.
        """
        if self._state.chunk_index == 0:
            return None
        early_BTCHW = None
        for order in self._looks.due(params.looks):
            if early_BTCHW is None:
                early_BTCHW = self.pipeline.flush(self._state)
            self._looks.do_(order, self._state)
        return early_BTCHW

    def collect(self) -> StyledChunk:
        return StyledChunk(np.empty((0, 1, 1, 4), np.uint8), {}, {})

    @torch.inference_mode()
    def finish(self) -> StyledChunk:
        with self._naming_memory():
            pixels = self._staging.download(self.pipeline.flush(self._state))
        return StyledChunk(pixels, {}, {})

    def _spare_bytes(self) -> int:
        """What a look may take: every step, and any prompt of it, still has what it needs."""
        num_in_flight = self._spec.num_rows - 1
        return self._headroom.spare_bytes() - self._state.texts.room_bytes(num_in_flight)

    def _merge_loras_(self, params: Params) -> str:
        """Why the LoRAs are not as asked; '' = they are, or will be within some chunks."""
        if not self._lora.is_due(params):
            return self._lora.advance_(params).problem
        with self._timer.span("lora"):
            step = self._lora.advance_(params)
        if step.changed_text:
            self._state.texts.forget_()
        self._state.has_new_weights |= step.has_settled
        return step.problem

    def reset(self) -> None:
        self._state.reset_()

    @contextmanager
    def _naming_memory(self) -> Iterator[None]:
        """Memory that runs out inside is an error with a name and a remedy."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"{self.name} at {self._size} ran out of memory on {self._spec.device}: "
                f"{self._advice()}"
            ) from error


@contextmanager
def _as_far_as_memory_goes() -> Iterator[None]:
    """What is inside ends where memory does."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise


def _with_steps(params: Params, num_steps: int) -> Params:
    return params.model_copy(update={"steps": num_steps})
