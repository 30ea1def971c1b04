"""The autoencoders of the Wan 2.1 latent space as streams: f(x, cache) -> y, cache.

# B rows  T pixel frames  F latent frames  C channels  H W size

A stream equals the whole clip in any chunks. Latents are as StreamDiffusionV2's DiT was trained:
it is given the encoder's raw means and returns latents normalised per channel, so `encode` does
not normalise and `decode` takes the normalisation back. Source: Wan-AI/Wan2.1 wan/modules/vae.py,
StreamDiffusionV2 models/wan/wan_base/modules/vae.py (stream_encode, stream_decode).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX, WAN_VAE, WanVAEDims
from sdv2_host.wan.streaming_vae import Decoded, Encoded, VAECache
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae_layers import (
    AttentionBlock,
    Call,
    CausalConv,
    Downsample,
    Enlarging,
    Layers,
    ResidualBlock,
    RMSNorm,
    Upsample,
    channels_innermost,
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
        self.encoder = _encoder(dims)
        self.conv1 = CausalConv(dims.z_dim * 2, dims.z_dim * 2, (1, 1, 1))
        self.conv2 = CausalConv(dims.z_dim, dims.z_dim, (1, 1, 1))
        self.decoder = _decoder(dims)
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
        return VAECache(
            _zero_memories(self.encoder, like, size, cell_px=1),
            _zero_memories(self.decoder, like, size, cell_px=LATENT_STRIDE_PX),
        )

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
        num_rows = z_BFCHW.shape[0]
        call = Call(num_rows, is_first, iter(cache.decoder))
        x = self.decoder(self.conv2(_time_first(self.latent_scale(z_BFCHW)), call), call)
        return Decoded(_rows_first(x, num_rows).clamp_(-1, 1), cache)


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


class HybridVAE(nn.Module):
    """The reference's fast mode: the Wan VAE encodes, TAEHV decodes (see `TaehvVAE`)."""

    def __init__(self, encoder: WanVAE, decoder: TinyVAE) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = TaehvVAE(decoder, encoder.dims)

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
            _zero_memories(self.encoder.encoder, like, size, cell_px=1),
            self.decoder.init_cache(*size, device, dtype).decoder,
        )

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        """Raw latent means of frames in [-1, 1]; T = 1 + 4k on the first call, 4k later."""
        return self.encoder.encode(frames_BTCHW, cache, is_first)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        """Frames in [-1, 1] of normalised latents: 4 each, but 1 for a session's first latent."""
        return self.decoder.decode(z_BFCHW, cache, is_first)


def _encoder(dims: WanVAEDims) -> Layers:
    widths = [dims.base * mult for mult in (1, *dims.dim_mult)]
    downsamples: list[nn.Module] = []
    # No change of size behind the last stage.
    for (dim_in, dim_out), in_time in zip(
        pairwise(widths), (*dims.temporal_downsample, None), strict=True
    ):
        downsamples += _residual_blocks(dim_in, dim_out, dims.num_res_blocks)
        downsamples += [] if in_time is None else [Downsample(dim_out, in_time)]
    return Layers(
        conv1=CausalConv(3, widths[0], (3, 3, 3)),
        downsamples=Layers(*downsamples),
        middle=_middle(widths[-1]),
        head=_head(widths[-1], dims.z_dim * 2),
    )


def _decoder(dims: WanVAEDims) -> Layers:
    widths = [dims.base * mult for mult in reversed((*dims.dim_mult, dims.dim_mult[-1]))]
    upsamples: list[nn.Module] = []
    dim_in = widths[0]
    for dim_out, in_time in zip(
        widths[1:], (*reversed(dims.temporal_downsample), None), strict=True
    ):
        upsamples += _residual_blocks(dim_in, dim_out, dims.num_res_blocks + 1)
        upsamples += [] if in_time is None else [Upsample(dim_out, in_time)]
        dim_in = dim_out // 2
    return Layers(
        conv1=CausalConv(dims.z_dim, widths[0], (3, 3, 3)),
        middle=_middle(widths[0]),
        upsamples=Layers(*upsamples),
        head=_head(widths[-1], 3),
    )


def _residual_blocks(dim_in: int, dim_out: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(dim_out if index else dim_in, dim_out) for index in range(count)]


def _middle(dim: int) -> Layers:
    return Layers(ResidualBlock(dim, dim), AttentionBlock(dim), ResidualBlock(dim, dim))


def _head(dim_in: int, dim_out: int) -> Layers:
    return Layers(RMSNorm(dim_in), nn.SiLU(inplace=True), CausalConv(dim_in, dim_out, (3, 3, 3)))


def _zero_memories(
    half: Layers, like: Tensor, size: tuple[int, int, int], cell_px: int
) -> list[Tensor]:
    """One per remembering layer, in the order they run; `cell_px` at the half's entrance."""
    batch, height_px, width_px = size
    return [
        like.new_zeros(
            layer.num_past * batch, layer.dim_in, height_px // cell, width_px // cell
        ).contiguous(memory_format=torch.channels_last)
        for layer, cell in _remembering(half, cell_px)
    ]


def _remembering(half: Layers, cell_px: int) -> Iterator[tuple[CausalConv, int]]:
    """Layers with a memory, and the pixels per cell of their input."""
    for layer in half.modules():
        if isinstance(layer, Downsample):
            cell_px *= 2  # at once: its time convolution runs last
        elif isinstance(layer, Enlarging):
            cell_px //= 2
        elif isinstance(layer, CausalConv) and layer.num_past:
            yield layer, cell_px


def _restore_after_load(vae: nn.Module, _keys: Any) -> None:
    assert isinstance(vae, WanVAE)
    vae.restore_()


def _time_first(x_BTCHW: Tensor) -> Tensor:
    """[T*B, C, H, W], time outermost, channels innermost."""
    x = x_BTCHW.transpose(0, 1).flatten(0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def _rows_first(x: Tensor, num_rows: int) -> Tensor:
    return x.unflatten(0, (-1, num_rows)).transpose(0, 1)
