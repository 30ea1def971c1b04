"""TinyEngine: the embedded model behind the host's `Engine` seam. One thread uses it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.timing import SpanTimer
from sdv2_host.params import Params
from sdv2_host.stream.kv_cache import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import DEFAULT_GEOMETRY, Layout, StreamSpec
from sdv2_host.types import Frame, FrameMeta, ProgressFn, Size, StyledChunk
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.weights import TinyModels, load_tiny


class TinyEngine:
    """The streaming pipeline with the embedded model, at one size.

    With Layout.BATCH a step may return no frames while the batch fills (`StyledChunk.frames`
    has T = 0) and more than it was given when the number of steps changes; order is kept.
    """

    def __init__(self, models: TinyModels, spec: StreamSpec) -> None:
        self._spec = spec
        self._size = Size(spec.width_px, spec.height_px)
        self._timer = SpanTimer(spec.device)
        self._staging = Staging(self._size, spec.device, spec.dtype)
        self.pipeline = StreamPipeline(
            models.dit, models.vae, models.text, spec, span=self._timer.span
        )
        self._state = self.pipeline.fresh_state()

    @property
    def name(self) -> str:
        return "tiny"

    @property
    def size(self) -> Size:
        return self._size

    @property
    def first_chunk_frames(self) -> int:
        return 1

    @property
    def chunk_frames(self) -> int:
        return FRAMES_PER_LATENT

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
        self.reset()
        for index, num_steps in enumerate(plan):
            count = self.chunk_frames if index else self.first_chunk_frames
            self.step([frame] * count, params.model_copy(update={"steps": num_steps}))
            progress(f"warming up, {num_steps} of {num_rows} steps", (index + 1) / len(plan))
        self.reset()

    @torch.inference_mode()
    def step(self, frames: list[Frame], params: Params) -> StyledChunk:
        """Spans: upload, encode, denoise, decode, download. Notes: noise_scale, motion, chunk."""
        state, timer = self._state, self._timer
        chunk_index = state.chunk_index
        with timer.span("upload"):
            frames_BTCHW = self._staging.upload(frames)
        styled_BTCHW = self.pipeline.step(state, frames_BTCHW, params)
        with timer.span("download"):
            pixels = self._staging.download(styled_BTCHW)
        notes = {
            "chunk": float(chunk_index),
            "noise_scale": float(state.motion.noise_scale),
            "motion": float(state.motion.level),
            "steps": float(params.steps),
        }
        return StyledChunk(pixels, timer.finish_chunk(), notes)

    def reset(self) -> None:
        self._state.reset_()


def tiny_spec(
    card: dict[str, Any], size: Size, *, use_sink: bool = True, layout: Layout = Layout.SERIAL
) -> StreamSpec:
    """The stream the embedded model was trained for, on the CPU.

    Without sinks the window takes their place, so that the length of the context is the same.
    """
    num_sinks = int(card.get("num_sinks", DEFAULT_GEOMETRY.num_sinks))
    window = int(card.get("window", DEFAULT_GEOMETRY.window))
    geometry = CacheGeometry(num_sinks, window)
    if not use_sink:
        geometry = CacheGeometry(0, num_sinks + window)
    return StreamSpec(size.height, size.width, geometry, layout)


def build_tiny_engine(
    size: Size, threads: int, use_sink: bool = True, layout: Layout = Layout.SERIAL
) -> TinyEngine:
    """The embedded model, loaded, on the CPU. `threads` 0 = one per core; set for the process.

    Raises:
        ModelError: the model file is missing, damaged, or not this model.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    models = load_tiny()
    models.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TinyEngine(models, tiny_spec(models.card, size, use_sink=use_sink, layout=layout))
