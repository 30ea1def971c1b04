"""StreamEngine: a streaming pipeline behind the host's `Engine` seam. One thread uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdv2_host.errors import DeviceError
from sdv2_host.gpu.look_shelf import LookShelf
from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.timing import SpanTimer
from sdv2_host.params import Params
from sdv2_host.stream.drift import LIMIT, MAX_ANCHORS
from sdv2_host.stream.lora import NO_LORAS, LoraMerge, NoLoras
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import Layout, StreamSpec
from sdv2_host.types import Frame, FrameMeta, ProgressFn, Size, StyledChunk
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


DRIFT_TEXT = (
    f"the picture has drifted more than {LIMIT:g} times its own spread from how this look began: "
)


def _smaller() -> str:
    return "use a smaller --size"


class StreamEngine:
    """The streaming pipeline with one set of models, at one size.

    With Layout.BATCH a step may return no frames while the batch fills (`StyledChunk.frames`
    has T = 0) and more than it was given when the number of steps changes; order is kept.
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
        self._looks = LookShelf()
        self.pipeline = StreamPipeline(
            models.dit, models.vae, models.text, spec, span=self._timer.span
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
    def delay_frames(self) -> int:
        # A chunk's first frame waits for its others, and in a batch of as many steps as there are
        # rows for one chunk per further step; the first chunk of a session is done at once.
        late_chunks = self._spec.num_rows - 1 if self._spec.layout is Layout.BATCH else 0
        return max(self.first_chunk_frames, self.chunk_frames * (1 + late_chunks)) - 1

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        """After this every shape of work has run once, for 1 to 4 steps; ends with a reset.

        A session long enough to fill the cache, as attention's shapes grow until then, and to
        fill a stream batch of every depth.
        """
        num_rows = self._spec.num_rows
        plan = [1] * (self._spec.geometry.num_slots + 1)
        plan += [steps for steps in range(2, num_rows + 1) for _ in range(steps)]
        pixels = np.zeros((self._size.height, self._size.width, 4), dtype=np.uint8)
        frame = Frame(FrameMeta(self._size.width, self._size.height), pixels)
        self._looks.skip(params.looks)
        self.reset()
        for index, num_steps in enumerate(plan):
            count = self.chunk_frames if index else self.first_chunk_frames
            self.step([frame] * count, params.model_copy(update={"steps": num_steps}))
            progress(f"warming up, {num_steps} of {num_rows} steps", (index + 1) / len(plan))
        self.reset()

    @torch.inference_mode()
    def step(self, frames: list[Frame], params: Params) -> StyledChunk:
        """Spans: upload, encode, denoise, decode, download, and lora while one is being merged.

        Notes: chunk, noise_scale, motion, steps, and drift while it is watched.

        Raises:
            DeviceError: the device's memory ran out.
        """
        with self._naming_memory():
            return self._step(frames, params)

    def _step(self, frames: list[Frame], params: Params) -> StyledChunk:
        state, timer = self._state, self._timer
        problem = self._merge_loras_(params)
        early_BTCHW = self._do_looks_(params)
        chunk_index = state.chunk_index
        with timer.span("upload"):
            frames_BTCHW = self._staging.upload(frames)
        styled_BTCHW = self.pipeline.step(state, frames_BTCHW, params)
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
        problems = [problem, self._looks.problem]
        if params.drift != "off":
            notes["drift"] = float(state.drift.level)
            problems.append(self._drift_problem(params))
        return StyledChunk(pixels, timer.finish_chunk(), notes, "; ".join(filter(None, problems)))

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
            raise DeviceError(
                f"{self.name} at {self._size} ran out of memory on {self._spec.device}: "
                f"{self._advice()}"
            ) from error
