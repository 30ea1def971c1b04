"""StreamState: everything that outlives a chunk, in one value. Modules hold weights only."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from sdv2_host.stream.drift import DriftState
from sdv2_host.stream.kv_cache import KVCache, RollingKVCache
from sdv2_host.stream.motion import MotionState
from sdv2_host.stream.prompt import LookMemory, TextBank
from sdv2_host.stream.recent import RecentFrames
from sdv2_host.stream.reference_cache import ReferenceKVCache
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.stream.stream_batch import StreamBatch
from sdv2_host.types import Layout
from sdv2_host.wan.dims import LATENT_STRIDE_PX, WanDims
from sdv2_host.wan.streaming_vae import StreamingVAE, VAECache


@dataclass(slots=True)
class StreamState:
    """One stream. Per session unless said otherwise. `StreamPipeline` says which part of a step
    uses which field; each part is used by one thread."""

    kv: KVCache
    vae_cache: VAECache
    motion: MotionState
    batch: StreamBatch
    texts: TextBank
    """Per process."""
    drift: DriftState
    recent: RecentFrames
    chunk_index: int = 0
    """Number of the next chunk of this session."""
    num_latents: int = 0
    """Latent frames that the chunks so far had."""
    look: LookMemory = field(default_factory=LookMemory)
    num_steps: int = 0
    """Of the newest chunk; rows 0..num_steps-1 of `kv` have seen every chunk."""
    num_recached: int = 0
    """Latent frames of the past that the newest step denoised once more, counted per row."""
    has_new_weights: bool = False
    """The model's weights changed after the newest chunk: its look did, as with a new prompt."""

    @classmethod
    @torch.inference_mode()
    def fresh(
        cls, spec: StreamSpec, dims: WanDims, vae: StreamingVAE, kv: KVCache | None = None
    ) -> StreamState:
        """A stream that has seen nothing; all its memory is allocated here, but for that of `kv`
        where it is given."""
        size = (spec.height_px, spec.width_px)
        cells_h, cells_w = (side // LATENT_STRIDE_PX for side in size)
        return cls(
            kv=kv or fresh_kv(spec, dims),
            vae_cache=vae.init_cache(1, *size, device=spec.device, dtype=spec.dtype),
            motion=MotionState.fresh(*size, dims.in_dim, spec.device),
            batch=StreamBatch(),
            texts=TextBank(spec.num_prompts),
            drift=DriftState.fresh(dims.in_dim, spec.device),
            recent=RecentFrames.fresh(
                spec.num_recent,
                (dims.in_dim, cells_h, cells_w),
                spec.device,
                spec.dtype,
            ),
        )

    @torch.inference_mode()
    def reset_(self) -> None:
        """As fresh, in the same memory: the next session is bit-equal to a first one."""
        self.kv.reset_()
        for memory in (*self.vae_cache.encoder, *self.vae_cache.decoder):
            memory.zero_()
        self.motion.reset_()
        self.drift.reset_()
        self.recent.reset_()
        self.batch = StreamBatch()
        self.chunk_index = 0
        self.num_latents = 0
        self.look = LookMemory()
        self.num_steps = 0
        self.num_recached = 0
        self.has_new_weights = False


def fresh_kv(spec: StreamSpec, dims: WanDims) -> KVCache:
    """An empty cache of the spec's mode, all of its memory allocated."""
    tokens_per_frame = dims.tokens_per_frame(spec.height_px, spec.width_px)
    frame_shape = (tokens_per_frame, dims.num_heads, dims.head_dim)
    if spec.cache is CacheMode.REFERENCE:
        return ReferenceKVCache.fresh(
            spec.geometry,
            num_blocks=dims.num_layers,
            num_rows=1 if spec.layout is Layout.SERIAL else spec.num_rows,
            frame_shape=frame_shape,
            device=spec.device,
            dtype=spec.dtype,
        )
    return RollingKVCache.fresh(
        spec.geometry,
        num_blocks=dims.num_layers,
        num_rows=spec.num_rows,
        frame_shape=frame_shape,
        device=spec.device,
        dtype=spec.dtype,
        positions=spec.positions,
    )
