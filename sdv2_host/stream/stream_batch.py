"""Chunks between noise and picture.

# F latent frames  C channels  H W latent size  I denoising steps
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sdv2_host.wan.model import TextByBlock


@dataclass(slots=True)
class ChunkInFlight:
    """One chunk on its way, with all it was made with: nothing live can change it any more."""

    index: int
    seed: int
    text: TextByBlock
    timesteps_I: Tensor
    """What the model is told at each step, float32, on the device."""
    sigmas_I: Tensor
    """Noise level at each step, float32, on the device."""
    x_BFCHW: Tensor
    """Latents at `step`'s noise level; clean once done. One row."""
    refresh_sinks: bool
    num_steps: int
    first_frame: int
    """Number in the stream of its first latent frame."""
    step: int = 0
    """Next step to run."""
    reanchors: Tensor | None = None
    """0-dim boolean on the device: as `refresh_sinks`; None = no."""
    begins_anew: bool = False
    """Its rows forget all they have seen before."""
    past: list[ChunkInFlight] = field(default_factory=list)
    """Chunks before it that its rows are to see anew, at the same step, oldest first."""
    num_cut: int = 0
    """Latent frames of its front that are no longer there: of a chunk of the past."""
    noise_hold: float = 0.0
    """How much of the noise is every chunk's, 0..1."""
    sink_threshold: float = -1.0
    """Adaptive sinks: replace where the similarity -1..1 is below this; -1 = never."""
    source_S: Tensor | None = None
    """Statistics of what it was made of, for the drift watchdog; None = it is off."""
    is_shown: bool = True
    """False for the reference's warm-up chunks, which no picture is made from."""

    @property
    def is_first(self) -> bool:
        return self.index == 0

    @property
    def num_latents(self) -> int:
        return self.x_BFCHW.shape[1]

    @property
    def is_done(self) -> bool:
        return self.step == self.num_steps


@dataclass(slots=True)
class StreamBatch:
    """Unfinished chunks, newest first, at steps 0, 1, 2... Lifetime: one session.

    One chunk enters per tick and all move one step per tick, so steps stay neighbours and at
    most the oldest is done.
    """

    chunks: list[ChunkInFlight] = field(default_factory=list)

    def push(self, chunk: ChunkInFlight) -> None:
        """`chunk` is the newest; the caller moves all chunks one step before the next push."""
        assert not self.chunks or self.chunks[0].step == 1, "two chunks at the same step"
        self.chunks.insert(0, chunk)

    def pop_done(self) -> list[ChunkInFlight]:
        """The oldest chunk if it is done and meant to be shown, else nothing."""
        if self.chunks and self.chunks[-1].is_done:
            oldest = self.chunks.pop()
            return [oldest] if oldest.is_shown else []
        return []
