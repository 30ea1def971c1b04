"""The three calls of the models that a chunk is made of, as a seam for faster ways to make them.

# B rows  T pixel frames  F latent frames  C channels  H W size
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor

from sdv2_host.stream.cached_call import PastCall
from sdv2_host.wan.model import CausalWanModel, TextByBlock
from sdv2_host.wan.streaming_vae import StreamingVAE, VAECache


class ModelCalls(Protocol):
    """Whatever makes them: as written, compiled, or recorded and played again.

    What a stream remembers is written in place, at the same addresses for its life.
    """

    @property
    def num_rehearsals(self) -> int:
        """How often a call of each kind is made before it is as fast as it will be."""

    def preparing(self) -> AbstractContextManager[None]:
        """Inside, what a rehearsed call needs may be prepared, however long that takes."""

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        """Latents [B, F, C, H, W] of frames in [-1, 1]; T = 1 + 4k on a session's first call."""

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        """The flow [B, F, C, H, W] of noisy latents at timesteps 0..1000, with this past."""

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        """Frames [B, T, 3, H, W] meant for [-1, 1]: 4 per latent, 1 for a session's first."""


class EagerCalls:
    """The models' own code, line by line."""

    num_rehearsals = 1

    def __init__(self, dit: CausalWanModel, vae: StreamingVAE) -> None:
        self._dit = dit
        self._vae = vae

    def preparing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._vae.encode(frames_BTCHW, cache, is_first).z_BFCHW

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        tokens = self._dit.embed(x_BFCHW, t_BF)
        tokens = self._dit.run_blocks(tokens, text, past.begin_(tokens.x_BSE))
        return self._dit.unembed(tokens)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._vae.decode(z_BFCHW, cache, is_first).frames_BTCHW
