"""A streaming autoencoder of the TAEHV architecture, any widths: f(x, cache) -> y, cache.

# B rows  T pixel frames  F latent frames  C channels  H W size

Every memory is one frame per block (the block's previous input), written in place, so a stream
equals the whole clip. Gradients flow through a call's own frames, not through memories: training
gives whole clips and fresh caches. Frame arithmetic is Wan's: the first latent stands for one pixel
frame, each later one for four; the first frame is shown to the encoder four times, and of the first
latent's four decoded frames the last is kept. Source: madebyollin/taehv (architecture, key names).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor, nn

from sdv2_host.wan.bands import WHOLE, Reach, Rows, check_rows, plan_band
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX, TinyVAEDims
from sdv2_host.wan.streaming_vae import Band, Decoded, DecodedBand, Encoded, VAECache
from sdv2_host.wan.vae_layers import EnlargingConv, cropped, split_frames

CLAMP = 3.0


class MemBlock(nn.Module):
    """A residual block that also sees the previous frame's input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.conv = nn.Sequential(
            nn.Conv2d(dim * 2, dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        return self.conv(torch.cat([x, past], dim=1)).add_(x).relu_()


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
    """Splits every frame into `stride`.

    TAEHV repeats pixels before this 1x1 convolution; in the layer behind it that is the same.
    """

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(dim, dim * stride, 1, bias=False)

    def forward(self, x: Tensor, num_rows: int) -> Tensor:
        x = self.conv(x)
        return split_frames(x, self.stride, num_rows) if self.stride > 1 else x


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / CLAMP) * CLAMP


def _conv(dim_in: int, dim_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(dim_in, dim_out, 3, stride=stride, padding=1, bias=bias)


class TinyVAE(nn.Module):
    """Weights only; keys are the TAEHV checkpoint's. Caches are written in place."""

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
            decoder += [nn.Identity(), TGrow(widths[index], time)]
            conv = _conv if space == 1 else EnlargingConv
            decoder += [conv(widths[index], widths[index + 1], bias=False)]
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
        dims, memories, cell_px = self.dims, [], self.dims.patch
        like = torch.empty(0, device=device, dtype=dtype)
        for _, space in dims.encoder_strides:
            cell_px *= space
            shape = (batch, dims.encoder_width, height_px // cell_px, width_px // cell_px)
            memories += [_zeros(like, shape) for _ in range(dims.num_mem_blocks)]
        band = self.init_band(Rows(0, height_px), batch, height_px, width_px, device, dtype)
        return VAECache(memories, band.memories)

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
        unpatching = Reach(scale=self.dims.patch)
        plan = plan_band(rows, height_px, (*map(_reach, self.decoder), unpatching))
        memories, width = [], width_px // LATENT_STRIDE_PX
        for layer, given in zip(self.decoder, plan.inputs[:-1], strict=True):
            if isinstance(layer, MemBlock):
                memories.append(_zeros(like, (batch, layer.dim, given.num, width)))
            width *= _reach(layer).scale
        return Band((plan.inputs[0].where, *plan.kept[:-1]), memories)

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
        x = _cells(_time_first(frames_BTCHW), self.dims.patch)
        z = _run(self.encoder, x, cache.encoder, num_rows, repeat(WHOLE))
        return Encoded(_rows_first(z, num_rows) * self.dims.latent_scale, cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        """Frames: 4 per latent, but 1 for the first latent of a session.

        Meant to lie in [-1, 1] but not clamped, so that training feels an overshoot.
        """
        kept = (WHOLE, *repeat(WHOLE, len(self.decoder)))
        band = Band(kept, cache.decoder)
        return Decoded(self.decode_band(z_BFCHW, band, is_first).frames_BTCHW, cache)

    def decode_band(self, z_BFCHW: Tensor, band: Band, is_first: bool) -> DecodedBand:
        """`decode`'s frames, of the band's rows only. The latents are the whole picture's."""
        num_rows = z_BFCHW.shape[0]
        z = cropped(_time_first(z_BFCHW), band.kept[0]) / self.dims.latent_scale
        z = z.contiguous(memory_format=torch.channels_last)
        x = _run(self.decoder, z, band.memories, num_rows, band.kept[1:])
        frames_BTCHW = _rows_first(_pixels(x, self.dims.patch), num_rows)
        if is_first:
            frames_BTCHW = frames_BTCHW[:, FRAMES_PER_LATENT - 1 :]
        return DecodedBand(frames_BTCHW, band)


def _time_first(x_BTCHW: Tensor) -> Tensor:
    """[T*B, C, H, W], time outermost, so that pooling and growing slice whole frames."""
    return x_BTCHW.transpose(0, 1).flatten(0, 1)


def _rows_first(x: Tensor, num_rows: int) -> Tensor:
    return x.unflatten(0, (-1, num_rows)).transpose(0, 1)


def _cells(frames: Tensor, patch: int) -> Tensor:
    """[N, 3, H, W] in [-1, 1] -> [N, 3*p*p, H/p, W/p] in [0, 1], channels innermost.

    `pixel_unshuffle` and the passes that would follow it took a quarter of the embedded model's
    encoding.
    """
    x_NChpwq = frames.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    x_NhwCpq = x_NChpwq.permute(0, 2, 4, 1, 3, 5).clone(memory_format=torch.contiguous_format)
    return x_NhwCpq.mul_(0.5).add_(0.5).flatten(3).permute(0, 3, 1, 2)


def _pixels(cells: Tensor, patch: int) -> Tensor:
    """[N, 3*p*p, h, w] in [0, 1], written to -> [N, 3, h*p, w*p] in [-1, 1]."""
    x_NhwCpq = cells.mul_(2).sub_(1).permute(0, 2, 3, 1).unflatten(-1, (-1, patch, patch))
    return x_NhwCpq.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _zeros(like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    return like.new_zeros(shape).contiguous(memory_format=torch.channels_last)


def _reach(layer: nn.Module) -> Reach:
    if isinstance(layer, MemBlock):
        return Reach(neighbours=3)  # one for each of its convolutions
    if isinstance(layer, EnlargingConv):
        return Reach(neighbours=1, scale=2)
    return Reach(neighbours=1 if isinstance(layer, nn.Conv2d) else 0)


def _run(
    layers: nn.Sequential,
    x: Tensor,
    memories: list[Tensor],
    num_rows: int,
    kept: Iterable[slice],
) -> Tensor:
    """x [T*B, C, H, W] through the layers, of whose picture rows `kept` go on; each MemBlock's last
    input is now its memory."""
    next_memory = iter(memories)
    for layer, rows in zip(layers, kept, strict=False):
        if isinstance(layer, MemBlock):
            memory = next(next_memory)
            past = torch.cat([memory, x[:-num_rows]], dim=0)
            memory.copy_(x[-num_rows:].detach())
            x = layer(x, past)
        elif isinstance(layer, TPool | TGrow):
            x = layer(x, num_rows)
        else:
            x = layer(x)
        x = cropped(x, rows)
    return x
