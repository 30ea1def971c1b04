"""The embedded autoencoder: reconstruction of sources and styles, latents of unit size."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.bench.styles import STYLES
from sdv2_host.wan.dims import LATENT_STRIDE_PX, TINY_VAE
from sdv2_host.wan.tiny_vae import MemBlock, TinyVAE
from training.data import CLIP_FRAMES, fresh_cache, styled_copy, to_rgb
from training.optim import Average, Limit, MuonAndAdam, repeated, train

FRAMES = 9
CROP_PX = 64
GRID_PX = 8
"""Crops begin on the grid that styles use."""
PEAK_LR = 1.5e-3
LATENT_NOISE = 0.06
EMA = 0.995


def gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """L1 between finite differences: keeps lines sharp."""
    dx = (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean()
    return dx + (a.diff(dim=-2) - b.diff(dim=-2)).abs().mean()


def calm(vae: TinyVAE) -> None:
    """Start with unit-size signals everywhere, identity residual blocks, and mid grey."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, MemBlock):
            nn.init.zeros_(list(module.conv.parameters())[-2])
    last = list(vae.decoder.parameters())
    last[-2].data.mul_(0.2)
    nn.init.constant_(last[-1], 0.5)


@torch.no_grad()
def normalise_latents(vae: TinyVAE, rgb_BTCHW: Tensor) -> None:
    """Latents of this batch have mean 0 and deviation 1: far above the training noise."""
    z, _ = vae.encode(rgb_BTCHW * 2 - 1, fresh_cache(vae, rgb_BTCHW), is_first=True)
    own = z / vae.dims.latent_scale
    weight, bias = list(vae.encoder.parameters())[-2:]
    spread = own.std(dim=(0, 1, 3, 4))
    weight.div_(spread[:, None, None, None])
    bias.sub_(own.mean(dim=(0, 1, 3, 4))).div_(spread)


class Crops:
    """Draws pieces of clips on their device, half of them styled."""

    def __init__(self, clips_NTHW3: Tensor, seed: int) -> None:
        rng = random.Random(seed)
        styles = [rng.randrange(len(STYLES)) for _ in clips_NTHW3]
        self._pool = torch.cat([clips_NTHW3, styled_copy(clips_NTHW3, torch.tensor(styles))])

    def draw(self, batch: int) -> Tensor:
        """[B, FRAMES, 3, CROP_PX, CROP_PX] in 0..1, a part of them mirrored or in other colours."""
        pool, device = self._pool, self._pool.device
        num_cells = (pool.shape[2] - CROP_PX) // GRID_PX + 1

        def whole(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (batch, 1, 1, 1), device=device)

        first = whole(1, CLIP_FRAMES - FRAMES + 1)
        frame = first + torch.arange(FRAMES, device=device)[:, None, None]
        y = whole(0, num_cells) * GRID_PX + torch.arange(CROP_PX, device=device)[:, None]
        x = torch.arange(CROP_PX, device=device)
        x = torch.where(whole(0, 2) == 1, x, CROP_PX - 1 - x) + whole(0, num_cells) * GRID_PX
        rgb = to_rgb(pool[whole(0, len(pool)), frame, y, x])
        channels = torch.rand(batch, 3, device=device).argsort(dim=1)
        channels = torch.where(
            torch.rand(batch, 1, device=device) < 0.2, channels, torch.arange(3, device=device)
        )
        return rgb.take_along_dim(channels[:, None, :, None, None], dim=2)


def train_vae(clips_NTHW3: Tensor, batch: int, limit: Limit, seed: int) -> TinyVAE:
    """The averaged autoencoder at the limit, on the clips' device."""
    device = clips_NTHW3.device
    torch.manual_seed(seed)
    vae = TinyVAE(TINY_VAE)
    vae.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    calm(vae)
    crops = Crops(clips_NTHW3, seed)
    normalise_latents(vae, crops.draw(batch))
    optimizer, average = MuonAndAdam(vae, PEAK_LR, outer=()), Average(vae, EMA)

    def learn() -> Tensor:
        loss, psnr_db = vae_loss(vae, crops.draw(batch))
        optimizer.step(loss)
        average.follow_()
        return torch.stack([loss.detach(), psnr_db])

    step = repeated(learn, device)
    train("vae", lambda _progress, _number: step, ("loss", "psnr"), optimizer, PEAK_LR, limit)
    average.write_()
    return vae.eval().requires_grad_(False)


def vae_loss(vae: TinyVAE, rgb_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of one batch, and its PSNR in dB."""
    frames = rgb_BTCHW * 2 - 1
    scale = vae.dims.latent_scale
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=frames.is_cuda):
        cache = fresh_cache(vae, frames)
        z, _ = vae.encode(frames, cache, is_first=True)
        own = z.float() / scale
        noisy = own + torch.randn_like(own) * LATENT_NOISE
        out = vae.decode(noisy * scale, cache, is_first=True).frames_BTCHW.float()
    mean = own.mean(dim=(0, 1, 3, 4))
    spread = own.std(dim=(0, 1, 3, 4))
    tidy = mean.square().mean() + (spread - 1).square().mean()
    error = out - frames
    loss = error.abs().mean() + 0.5 * gradient_l1(out, frames) + 0.1 * tidy
    psnr_db = -10 * (error.detach().square().mean() / 4).log10()
    return loss + 2 * F.mse_loss(out, frames), psnr_db


def decoded(vae: TinyVAE, z_BFCHW: Tensor) -> Tensor:
    """[B, 4 F, 3, H, W] in -1..1, as if a stream had run before: memories empty."""
    num_rows, _, _, height, width = z_BFCHW.shape
    with torch.autocast(z_BFCHW.device.type, torch.bfloat16, enabled=z_BFCHW.is_cuda):
        sides_px = (LATENT_STRIDE_PX * height, LATENT_STRIDE_PX * width)
        cache = vae.init_cache(num_rows, *sides_px, z_BFCHW.device)
        return vae.decode(z_BFCHW, cache, is_first=False).frames_BTCHW.float()
