"""The autoencoders of the Wan 2.1 latent space as streams: f(x, cache) -> y, cache.

# B rows  T pixel frames  F latent frames  C channels  H W size

A stream equals the whole clip in any chunks. Latents are as StreamDiffusionV2's DiT was trained:
it is given the encoder's raw means and returns latents normalised per channel, so `encode` does
not normalise and `decode` takes the normalisation back. Source: Wan-AI/Wan2.1 wan/modules/vae.py,
StreamDiffusionV2 models/wan/wan_base/modules/vae.py (stream_encode, stream_decode).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from sdv2_host.wan.bands import Rows, check_rows
from sdv2_host.wan.dims import FRAMES_PER_LATENT, WAN_VAE, WanVAEDims
from sdv2_host.wan.streaming_vae import Band, Decoded, DecodedBand, Encoded, VAECache
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae_halves import decoder_layers, encoder_layers, fresh_band, fresh_memories
from sdv2_host.wan.vae_layers import (
    Call,
    CausalConv,
    channels_innermost,
    cropped,
)


class LatentScale(nn.Module):
    """The latents' mean and deviation per channel; constants, so not in the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, dims: WanVAEDims, like: Tensor) -> None:
        super().__init__()
        self.dims = dims
        self.register_buffer("mean", None, persistent=False)
        self.register_buffer("std", None, persistent=False)
        self.place_(like)

    def forward(self, z_BFCHW: Tensor) -> Tensor:
        """Normalised latents -> raw ones."""
        return z_BFCHW * self.std + self.mean

    def place_(self, like: Tensor) -> None:
        """The constants, in the dtype of `like` and beside it."""
        shape = (1, 1, self.dims.z_dim, 1, 1)
        mean = torch.tensor(self.dims.latent_mean, dtype=torch.float64, device="cpu")
        std = torch.tensor(self.dims.latent_std, dtype=torch.float64, device="cpu")
        self.mean = mean.view(shape).to(like)
        self.std = std.view(shape).to(like)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moved as any module, values set anew: `to_empty` leaves blanks, bf16 rounds."""
        super()._apply(fn, recurse)
        self.place_(like=self.mean)
        return self


class WanVAE(nn.Module):
    """Weights only; keys are those of Wan2.1_VAE.pth. Caches are written in place.

    For inference: gradients are off. All weights keep their channels innermost in memory through
    copies, moves and `load_state_dict`; whoever replaces parameters one by one calls `restore_`.
    """

    def __init__(self, dims: WanVAEDims = WAN_VAE) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = encoder_layers(dims)
        self.conv1 = CausalConv(dims.z_dim * 2, dims.z_dim * 2, (1, 1, 1))
        self.conv2 = CausalConv(dims.z_dim, dims.z_dim, (1, 1, 1))
        self.decoder = decoder_layers(dims)
        self.latent_scale = LatentScale(dims, like=self.conv2.weight)
        self.restore_()
        self.register_load_state_dict_post_hook(_restore_after_load)

    def restore_(self) -> None:
        """Every weight is in the memory order its convolution reads, the constants beside them.

        Does nothing where that is so already. For whoever replaced parameters, not copied into.
        """
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, CausalConv | nn.Conv2d):
                module.weight.data = channels_innermost(module.weight.data)
        self.latent_scale.place_(like=self.conv2.weight)

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        """Zero memories for a new session of pictures with these sides."""
        like, size = torch.empty(0, device=device, dtype=dtype), (batch, height_px, width_px)
        band = self.init_band(Rows(0, height_px), *size, device, dtype)
        return VAECache(fresh_memories(self.encoder, like, size), band.memories)

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
        check_rows(rows, height_px)
        like = torch.empty(0, device=device, dtype=dtype)
        return fresh_band(self.decoder, rows, (batch, height_px, width_px), like)

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        """Raw latent means of frames in [-1, 1]; T = 1 + 4k on the first call, 4k later.

        Raises:
            ValueError: T is neither.
        """
        num_rows, num_frames = frames_BTCHW.shape[:2]
        if (num_frames - is_first) % FRAMES_PER_LATENT or not num_frames:
            raise ValueError(
                f"{num_frames} frames, expected a multiple of {FRAMES_PER_LATENT} (first: +1)"
            )
        call = Call(num_rows, is_first, iter(cache.encoder))
        moments = self.conv1(self.encoder(_time_first(frames_BTCHW), call), call)
        return Encoded(_rows_first(moments[:, : self.dims.z_dim], num_rows), cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        """Frames in [-1, 1] of normalised latents: 4 each, but 1 for a session's first latent."""
        return Decoded(self._frames(z_BFCHW, cache.decoder, None, is_first), cache)

    def decode_band(self, z_BFCHW: Tensor, band: Band, is_first: bool) -> DecodedBand:
        """`decode`'s frames, of the band's rows only. The latents are the whole picture's."""
        return DecodedBand(self._frames(z_BFCHW, band.memories, iter(band.kept), is_first), band)

    def _frames(
        self, z_BFCHW: Tensor, memories: list[Tensor], kept: Iterator[slice] | None, is_first: bool
    ) -> Tensor:
        call = Call(z_BFCHW.shape[0], is_first, iter(memories), kept)
        x = self.decoder(self.conv2(_time_first(self.latent_scale(z_BFCHW)), call), call)
        return _rows_first(cropped(x, call.next_kept()), call.num_rows).clamp_(-1, 1)


class TaehvVAE(nn.Module):
    """TAEHV in place of the Wan VAE, both ways: fast, close, not equal.

    TAEHV's latents are Wan's normalised per channel. That is what the DiT returns, so they are
    decoded as they are; the DiT is given raw ones, so encoding takes the normalisation back.

    The decoder is TAEHV's true recurrent stream, a session's first latent giving 1 frame as with
    the Wan VAE. The reference instead decodes the last four latents from zero memory in every
    call, four times the work for another result, and loses the first frame.
    """

    def __init__(self, tiny: TinyVAE, dims: WanVAEDims = WAN_VAE) -> None:
        super().__init__()
        self.tiny = tiny
        self.latent_scale = LatentScale(dims, like=next(tiny.parameters()))

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        """Zero memories for a new session of pictures with these sides."""
        return self.tiny.init_cache(batch, height_px, width_px, device, dtype)

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        """Raw latents of frames in [-1, 1]; T = 1 + 4k on the first call, 4k later."""
        z_BFCHW, cache = self.tiny.encode(frames_BTCHW, cache, is_first)
        return Encoded(self.latent_scale(z_BFCHW), cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        """Frames in [-1, 1] of normalised latents: 4 each, but 1 for a session's first latent."""
        frames_BTCHW, cache = self.tiny.decode(z_BFCHW, cache, is_first)
        return Decoded(frames_BTCHW.clamp(-1, 1), cache)

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
        return self.tiny.init_band(rows, batch, height_px, width_px, device, dtype)

    def decode_band(self, z_BFCHW: Tensor, band: Band, is_first: bool) -> DecodedBand:
        """`decode`'s frames, of the band's rows only. The latents are the whole picture's."""
        frames_BTCHW, band = self.tiny.decode_band(z_BFCHW, band, is_first)
        return DecodedBand(frames_BTCHW.clamp(-1, 1), band)


class HybridVAE(TaehvVAE):
    """The reference's fast mode: the Wan VAE encodes, TAEHV decodes."""

    def __init__(self, encoder: WanVAE, decoder: TinyVAE) -> None:
        super().__init__(decoder, encoder.dims)
        self.encoder = encoder

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        """Zero memories of the two halves in use."""
        like, size = torch.empty(0, device=device, dtype=dtype), (batch, height_px, width_px)
        return VAECache(
            fresh_memories(self.encoder.encoder, like, size),
            self.init_band(Rows(0, height_px), *size, device, dtype).memories,
        )

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        """Raw latent means of frames in [-1, 1]; T = 1 + 4k on the first call, 4k later."""
        return self.encoder.encode(frames_BTCHW, cache, is_first)


def _restore_after_load(vae: nn.Module, _keys: Any) -> None:
    assert isinstance(vae, WanVAE)
    vae.restore_()


def _time_first(x_BTCHW: Tensor) -> Tensor:
    """[T*B, C, H, W], time outermost, channels innermost."""
    x = x_BTCHW.transpose(0, 1).flatten(0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def _rows_first(x: Tensor, num_rows: int) -> Tensor:
    return x.unflatten(0, (-1, num_rows)).transpose(0, 1)
