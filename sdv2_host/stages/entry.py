"""Entry: frames become chunks and chunks become calls, at the first place."""

from __future__ import annotations

from dataclasses import fields

import torch

from sdv2_host.gpu.staging import Staging
from sdv2_host.params import Params
from sdv2_host.stages.calls import Call, RoutedChunk
from sdv2_host.stages.conductor import Conductor
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.state import StreamState
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.types import Frame, Size
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import StreamingVAE


class Entry:
    """Lifetime: one epoch."""

    def __init__(
        self,
        pipeline: StreamPipeline,
        dims: WanDims,
        vae: StreamingVAE,
        plan: RoutePlan,
        num_lanes: int,
    ) -> None:
        spec = pipeline.spec
        self.plan = plan
        self._pipeline = pipeline
        self._state = StreamState.fresh(spec, dims, vae, kv=_no_kv(pipeline))
        self._staging = Staging(Size(spec.width_px, spec.height_px), spec.device, spec.dtype)
        self._conductor = Conductor(plan.route, num_lanes)
        self._num_steps = 0
        self._num_chunks = 0

    @property
    def num_waiting(self) -> int:
        return self._conductor.num_waiting

    @property
    def texts_away(self) -> set[int]:
        return self._conductor.texts_away

    def take(self, frames: list[Frame], params: Params, text_id: int, text: TextByBlock) -> None:
        """The next chunk, and before it what of the past is to be seen anew."""
        before, self._num_steps = self._num_steps, params.steps
        frames_BTCHW = self._staging.upload(frames)
        # Its drift is watched where a stream has one device.
        params = params.model_copy(update={"drift": "off"})
        newest = self._pipeline.encode_(self._state, frames_BTCHW, params, text)
        motion = self._state.motion
        notes_2 = torch.stack([motion.noise_scale, motion.level]).float()
        for chunk in (*newest.past, newest):
            routed = self._routed(chunk, text_id, is_shown=chunk is newest)
            routed.notes_2 = notes_2
            if self.plan.route is Route.RING and 0 < before < params.steps:
                routed.fills_from, routed.fills_to = before - 1, params.steps
                before = params.steps
            self._conductor.feed(routed)

    def take_back(self, call: Call) -> None:
        self._conductor.take_back(call)

    def next_call(self) -> Call | None:
        return self._conductor.next_call()

    def _routed(self, chunk: ChunkInFlight, text_id: int, *, is_shown: bool) -> RoutedChunk:
        values = {field.name: getattr(chunk, field.name) for field in fields(ChunkInFlight)}
        values |= {"past": [], "is_shown": is_shown}
        routed = RoutedChunk(**values, order=self._num_chunks, text_id=text_id)
        self._num_chunks += 1
        return routed


def _no_kv(pipeline: StreamPipeline) -> RollingKVCache:
    """Keys and values are the places'."""
    spec = pipeline.spec
    return RollingKVCache.fresh(
        spec.geometry,
        num_blocks=0,
        num_rows=1,
        frame_shape=(0, 0, 0),
        device=spec.device,
        dtype=spec.dtype,
    )
