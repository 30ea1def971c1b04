"""What every causal autoencoder here is: f(x, cache) -> y, cache.

# B rows  T pixel frames  F latent frames  C channels  H W size

Frame arithmetic is Wan's: the first latent of a session stands for one pixel frame, each later one
for four. Latents are the DiT's own: whatever scale or normalisation the DiT was trained with on its
input (encode) and on its output (decode) is applied inside.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sdv2_host.wan.bands import Rows


class VAECache(NamedTuple):
    """What the layers remember, in their order. Lifetime: one session. All zeros = a fresh one."""

    encoder: list[Tensor]
    decoder: list[Tensor]


class Encoded(NamedTuple):
    z_BFCHW: Tensor
    cache: VAECache
    """The one given, its memories written in place."""


class Decoded(NamedTuple):
    frames_BTCHW: Tensor
    cache: VAECache


class Band(NamedTuple):
    """A decoder of some rows of the picture. Lifetime: one session. Memories all zeros = fresh."""

    kept: tuple[slice, ...]
    """Rows of what the layers make that go on, in the order they run; see `bands`."""
    memories: list[Tensor]
    """What the layers remember of their part of the picture, in their order."""


class DecodedBand(NamedTuple):
    frames_BTCHW: Tensor
    """H = the band's rows."""
    band: Band
    """The one given, its memories written in place."""


class StreamingVAE(Protocol):
    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        """Zero memories for a new session of pictures with these sides."""

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        """Latents of frames in [-1, 1]; T = 1 + 4k on a session's first call, 4k later."""

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        """Frames: 4 per latent, but 1 for the first latent of a session. Meant for [-1, 1]."""


class BandedVAE(StreamingVAE, Protocol):
    """One whose pictures can be decoded in bands, each by another device.

    Law: the bands of a picture, one below the other, are what `decode` gives.
    """

    def init_band(
        self,
        rows: Rows,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Band:
        """For a new session of pictures with these sides, of which these rows are decoded.

        Raises:
            ValueError: not rows of whole latents of such a picture.
        """

    def decode_band(self, z_BFCHW: Tensor, band: Band, is_first: bool) -> DecodedBand:
        """`decode`'s frames, of the band's rows only. The latents are the whole picture's."""
