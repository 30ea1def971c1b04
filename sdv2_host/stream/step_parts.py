"""What the three parts of a step hand on: begin, denoise, decode.

# F latent frames  S statistics

Each part touches its own share of a `StreamState`, so that those of neighbouring chunks may run at
the same time; see `StreamPipeline`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.types import Layout


class Begun(NamedTuple):
    """A chunk before its first step, and what the later parts need of its step."""

    chunk: ChunkInFlight
    params: Params
    layout: Layout
    motion_2: Tensor
    """Noise scale and level of motion; a copy, float32."""
    source_S: Tensor | None
    """Statistics of what it was made of; None = drift is not watched."""
    has_new_weights: bool
    """The model's weights changed before it, and what watches drift has not been told."""
    noisy: tuple[Tensor, ...]
    """The latents that it and what of the past comes with it begin with, held: those have others
    once they were denoised, and a lane that is behind has still to read these."""


class Denoised(NamedTuple):
    """Chunks that are clean with this step, oldest first."""

    begun: Begun
    done: list[ChunkInFlight]
    num_recached: int
    """Latent frames of the past that were denoised once more, counted per row."""


class Decoded(NamedTuple):
    """The pictures of a step."""

    frames_BTCHW: Tensor
    """Meant for [-1, 1], not clamped."""
    drift_5: Tensor | None
    """`DriftState.told`; None = drift is not watched."""
