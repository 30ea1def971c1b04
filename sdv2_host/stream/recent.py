"""RecentFrames: the newest frames as they came to the model, so that it can see them anew.

Keys and values of the past hold the look they were computed under, and a new prompt's first frames
attend to them. LongLive empties its cache at a new prompt and fills it again from the pictures it
has made. Here the source is at hand, so what is kept are its latents with their noise, and the
past becomes what it would have been under the new prompt.

# F latent frames of the ring  B rows (1)  C channels  H W latent size

Source: LongLive (arXiv 2509.22622), "KV recache".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class PastChunk(NamedTuple):
    """A chunk that came to the model; what its noise was drawn with."""

    chunk_index: int
    seed: int
    first_frame: int
    """Number in the stream of its first latent frame."""
    num_frames: int
    """Latent frames."""
    noise_hold: float = 0.0
    """How much of the noise is every chunk's, 0..1."""

    @property
    def end_frame(self) -> int:
        return self.first_frame + self.num_frames


class Recalled(NamedTuple):
    """The newest frames of a past chunk."""

    chunk: PastChunk
    x_BFCHW: Tensor
    """A copy."""
    noise_scale: Tensor
    """0-dim."""


@dataclass(slots=True)
class RecentFrames:
    """Lifetime of every field: one session, reset in place. Frame f is in slot f mod F."""

    x_FCHW: Tensor
    """With the noise of the first step."""
    noise_scale_F: Tensor
    """Float32; of the frame's chunk."""
    chunks: list[PastChunk]
    """Oldest first; those that have a frame here."""

    @classmethod
    def fresh(
        cls,
        num_frames: int,
        frame_shape: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> RecentFrames:
        """Room for so many frames of [C, H, W]; with 0 nothing is kept."""
        return cls(
            torch.zeros(num_frames, *frame_shape, device=device, dtype=dtype),
            torch.zeros(num_frames, device=device),
            [],
        )

    @property
    def capacity(self) -> int:
        return len(self.x_FCHW)

    def reset_(self) -> None:
        self.chunks.clear()

    def keep_(self, chunk: PastChunk, x_BFCHW: Tensor, noise_scale: Tensor) -> None:
        """`chunk`, the newest, is kept, in the place of the oldest frames."""
        for frame in range(max(0, chunk.num_frames - self.capacity), chunk.num_frames):
            slot = (chunk.first_frame + frame) % self.capacity
            self.x_FCHW[slot] = x_BFCHW[0, frame]
            self.noise_scale_F[slot] = noise_scale
        oldest = chunk.end_frame - self.capacity
        self.chunks = [past for past in (*self.chunks, chunk) if past.end_frame > oldest]

    def newest(self, num_frames: int) -> list[Recalled]:
        """The newest frames, as many as asked for or there are, by chunk, oldest first."""
        assert num_frames <= self.capacity, f"{num_frames} frames of {self.capacity}"
        if not self.chunks:
            return []
        begin = self.chunks[-1].end_frame - num_frames
        recalled = []
        for chunk in self.chunks:
            frames = range(max(begin, chunk.first_frame), chunk.end_frame)
            if not frames:
                continue
            slots = [frame % self.capacity for frame in frames]
            x_BFCHW = torch.stack([self.x_FCHW[slot] for slot in slots])[None]
            recalled.append(Recalled(chunk, x_BFCHW, self.noise_scale_F[slots[0]].clone()))
        return recalled
