"""A streaming autoencoder of the TAEHV architecture, any widths: f(x, cache) -> y, cache.

# B rows  T pixel frames  F latent frames  C channels  H W size

Every memory is one frame per block (the block's previous input), so a stream equals the whole
clip. Frame arithmetic is Wan's: the first latent stands for one pixel frame, each later one for
four; the first frame is shown to the encoder four times, and of the first latent's four decoded
frames the last is kept. Source: madebyollin/taehv (architecture and key names).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX, TinyVAEDims
from sdv2_host.wan.streaming_vae import Decoded, Encoded, VAECache

CLAMP = 3.0


class MemBlock(nn.Module):
    """A residual block that also sees the previous frame's input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(dim * 2, dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        return F.relu(self.conv(torch.cat([x, past], dim=1)) + x)


class TPool(nn.Module):
    """Joins `stride` frames into one."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(dim * stride, dim, 1, bias=False)

    def forward(self, x: Tensor, num_rows: int) -> Tensor:
        if self.stride > 1:
            groups = x.unflatten(0, (-1, self.stride, num_rows)).unbind(1)
            x = torch.cat([group.flatten(0, 1) for group in groups], dim=1)
        return self.conv(x)


class TGrow(nn.Module):
    """Splits every frame into `stride`, and every pixel into `space` x `space`.

    TAEHV repeats pixels before the 1x1 convolution; after it the numbers are the same, for a
    quarter of the work.
    """

    def __init__(self, dim: int, stride: int, space: int) -> None:
        super().__init__()
        self.stride = stride
        self.space = space
        self.conv = nn.Conv2d(dim, dim * stride, 1, bias=False)

    def forward(self, x: Tensor, num_rows: int) -> Tensor:
        x = self.conv(x)
        if self.stride > 1:
            # Channels stay innermost in memory: [T*B, H, W, stride*C] -> [T*stride*B, H, W, C].
            # Any other order costs a strided copy of the enlarged picture in each later layer.
            split = x.permute(0, 2, 3, 1).unflatten(-1, (self.stride, -1))
            split = split.unflatten(0, (-1, num_rows)).permute(0, 4, 1, 2, 3, 5)
            x = split.flatten(0, 2).permute(0, 3, 1, 2)
        return F.interpolate(x, scale_factor=self.space) if self.space > 1 else x


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / CLAMP) * CLAMP


def _conv(dim_in: int, dim_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(dim_in, dim_out, 3, stride=stride, padding=1, bias=bias)


class TinyVAE(nn.Module):
    """Weights only; keys are the TAEHV checkpoint's."""

    def __init__(self, dims: TinyVAEDims) -> None:
        super().__init__()
        self.dims = dims
        width = dims.encoder_width
        encoder: list[nn.Module] = [_conv(3 * dims.patch**2, width), nn.ReLU(inplace=True)]
        for time, space in dims.encoder_strides:
            encoder += [TPool(width, time), _conv(width, width, stride=space, bias=False)]
            encoder += [MemBlock(width) for _ in range(dims.num_mem_blocks)]
        self.encoder = nn.Sequential(*encoder, _conv(width, dims.latent_dim))

        widths = dims.decoder_widths
        decoder: list[nn.Module] = [Clamp(), _conv(dims.latent_dim, widths[0]), nn.ReLU()]
        for index, (time, space) in enumerate(dims.decoder_strides):
            decoder += [MemBlock(widths[index]) for _ in range(dims.num_mem_blocks)]
            # The checkpoint counts a layer here that has no weights: its repeating of pixels.
            decoder += [nn.Identity(), TGrow(widths[index], time, space)]
            decoder += [_conv(widths[index], widths[index + 1], bias=False)]
        self.decoder = nn.Sequential(
            *decoder, nn.ReLU(inplace=True), _conv(widths[-1], 3 * dims.patch**2)
        )

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        """Zero memories for a new session of pictures with these sides."""
        dims = self.dims

        def zeros(width: int, cell_px: int) -> Tensor:
            shape = (batch, width, height_px // cell_px, width_px // cell_px)
            cache = torch.zeros(shape, device=device, dtype=dtype)
            return cache.contiguous(memory_format=torch.channels_last)

        encoder, cell_px = [], dims.patch
        for _, space in dims.encoder_strides:
            cell_px *= space
            encoder += [zeros(dims.encoder_width, cell_px) for _ in range(dims.num_mem_blocks)]
        decoder, cell_px = [], LATENT_STRIDE_PX
        for width, (_, space) in zip(dims.decoder_widths, dims.decoder_strides, strict=False):
            decoder += [zeros(width, cell_px) for _ in range(dims.num_mem_blocks)]
            cell_px //= space
        return VAECache(encoder, decoder)

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        """Latents of frames in [-1, 1]; T = 1 + 4k on the first call, 4k later."""
        if is_first:
            repeats = frames_BTCHW[:, :1].expand(-1, FRAMES_PER_LATENT - 1, -1, -1, -1)
            frames_BTCHW = torch.cat([repeats, frames_BTCHW], dim=1)
        num_rows, num_frames = frames_BTCHW.shape[:2]
        if num_frames % FRAMES_PER_LATENT:
            raise ValueError(
                f"{num_frames} frames, expected a multiple of {FRAMES_PER_LATENT} (first: +1)"
            )
        x = F.pixel_unshuffle(_time_first(frames_BTCHW) / 2 + 0.5, self.dims.patch)
        x = x.contiguous(memory_format=torch.channels_last)
        z, encoder_cache = _run(self.encoder, x, cache.encoder, num_rows)
        z_BFCHW = _rows_first(z, num_rows) * self.dims.latent_scale
        return Encoded(z_BFCHW, VAECache(encoder_cache, cache.decoder))

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        """Frames: 4 per latent, but 1 for the first latent of a session.

        Meant to lie in [-1, 1] but not clamped, so that training feels an overshoot.
        """
        num_rows = z_BFCHW.shape[0]
        z = (_time_first(z_BFCHW) / self.dims.latent_scale).contiguous(
            memory_format=torch.channels_last
        )
        x, decoder_cache = _run(self.decoder, z, cache.decoder, num_rows)
        frames_BTCHW = _rows_first(F.pixel_shuffle(x, self.dims.patch), num_rows)
        frames_BTCHW = frames_BTCHW * 2 - 1
        if is_first:
            frames_BTCHW = frames_BTCHW[:, FRAMES_PER_LATENT - 1 :]
        return Decoded(frames_BTCHW, VAECache(cache.encoder, decoder_cache))


def _time_first(x_BTCHW: Tensor) -> Tensor:
    """[T*B, C, H, W], time outermost, so that pooling and growing slice whole frames."""
    return x_BTCHW.transpose(0, 1).flatten(0, 1)


def _rows_first(x: Tensor, num_rows: int) -> Tensor:
    return x.unflatten(0, (-1, num_rows)).transpose(0, 1)


def _run(
    layers: nn.Sequential, x: Tensor, cache: list[Tensor], num_rows: int
) -> tuple[Tensor, list[Tensor]]:
    """x [T*B, C, H, W] through the layers, and each MemBlock's last input for the next call."""
    new_cache: list[Tensor] = []
    for layer in layers:
        if isinstance(layer, MemBlock):
            past = torch.cat([cache[len(new_cache)], x[:-num_rows]], dim=0)
            new_cache.append(x[-num_rows:].clone(memory_format=torch.channels_last))
            x = layer(x, past)
        elif isinstance(layer, TPool | TGrow):
            x = layer(x, num_rows)
        else:
            x = layer(x)
    return x, new_cache
