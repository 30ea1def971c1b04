"""StreamSpec: what is fixed for the life of a stream. Live parameters are `params.Params`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch

from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.motion import MotionRule
from sdv2_host.stream.positions import PositionMode
from sdv2_host.types import Layout

DEFAULT_GEOMETRY = CacheGeometry(num_sinks=1, window=4)
DEFAULT_MOTION = MotionRule()
MAX_STEP_RATIO = 0.85
CPU = torch.device("cpu")


class CacheMode(Enum):
    ROLLING = "rolling"
    """Sinks and window as the geometry says; see `RollingKVCache`."""
    REFERENCE = "reference"
    """What StreamDiffusionV2 does, its faults included; see `ReferenceKVCache`."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    height_px: int
    width_px: int
    geometry: CacheGeometry = DEFAULT_GEOMETRY
    layout: Layout = Layout.SERIAL
    """Of chunks for which no other is asked. With CacheMode.REFERENCE none other can be."""
    cache: CacheMode = CacheMode.ROLLING
    positions: PositionMode = PositionMode.RELATIVE
    timesteps: tuple[float, ...] = (700.0, 500.0, 400.0, 200.0)
    """Canonical list; n steps use the first n, and motion replaces the first."""
    timestep_offset: float = 0.0
    """The model is told 1000 x noise scale minus this; the reference takes 100."""
    max_step_ratio: float = MAX_STEP_RATIO
    """A step's timestep is at most this part of the one before. The reference's list never
    exceeds it for its own noise scales (500 after 600..700), but has no guard: a low noise scale
    is followed by a noisier step there. Infinity = no guard."""
    is_first_canonical: bool = False
    """The first chunk takes the canonical timesteps whatever its noise scale: the reference."""
    motion: MotionRule = DEFAULT_MOTION
    sink_threshold: float = -1.0
    """Adaptive sinks: replace where the similarity -1..1 is below this; -1 = never."""
    num_prompts: int = 8
    """Prompts whose text keys and values are kept; in bfloat16 94 MB each for Wan 1.3B, 419 MB
    for 14B."""
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    @property
    def longest_chunk(self) -> int:
        """Latent frames of a chunk that leave one of the past in the window beside the sinks.

        Source: streamv2v/inference.py: (num_kv_cache - num_sink_tokens - 1), with --target_fps.
        """
        return max(1, self.geometry.window - 1)

    @property
    def num_rows(self) -> int:
        """Cache rows: one per possible denoising step."""
        return len(self.timesteps)

    @property
    def num_recent(self) -> int:
        """Latent frames kept to see them anew: what the cache holds beside a chunk of one. The
        reference's is queues that no frame can be put back into: none."""
        return self.geometry.num_slots - 1 if self.cache is CacheMode.ROLLING else 0
