"""The embedded autoencoder: reconstruction of sources and styles, latents of unit size."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from queue import Queue

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.dims import TINY_VAE
from sdv2_host.wan.tiny_vae import MemBlock, TinyVAE
from training.data import pixel_batches, style_some
from training.optim import MuonAndAdam

BATCH = 8
FRAMES = 9
CROP_PX = 64
STYLED_CLIPS = 900
PEAK_LR = 1.5e-3
LATENT_NOISE = 0.06


def cosine_lr(step: int, total: int, peak: float, warm: int = 100) -> float:
    """Linear warm-up, then a half cosine down to 2 % of the peak."""
    if step < warm:
        return peak * (step + 1) / warm
    progress = (step - warm) / max(total - warm, 1)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


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
    cache = vae.init_cache(len(rgb_BTCHW), rgb_BTCHW.shape[-2], rgb_BTCHW.shape[-1])
    z, _ = vae.encode(rgb_BTCHW * 2 - 1, cache, is_first=True)
    own = z / vae.dims.latent_scale
    weight, bias = list(vae.encoder.parameters())[-2:]
    spread = own.std(dim=(0, 1, 3, 4))
    weight.div_(spread[:, None, None, None])
    bias.sub_(own.mean(dim=(0, 1, 3, 4))).div_(spread)


def train_vae(clips_path: Path, steps: int, minutes: float, seed: int) -> TinyVAE:
    """The averaged autoencoder after `steps` or `minutes`, whichever comes first."""
    torch.manual_seed(seed)
    vae = TinyVAE(TINY_VAE)
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    calm(vae)
    styled = style_some(clips_path, STYLED_CLIPS, seed)
    pools = [np.load(path, mmap_mode="r") for path in (clips_path, styled)]
    batches: Queue[Tensor] = Queue(maxsize=6)

    def feed() -> None:
        # A thread of its own: batches are cut while the main thread is inside torch's backward.
        for batch in pixel_batches(pools, BATCH, FRAMES, CROP_PX, seed):
            batches.put(batch)

    threading.Thread(target=feed, daemon=True).start()
    normalise_latents(vae, batches.get())
    optimizer = MuonAndAdam(vae, PEAK_LR, outer=())
    average = {name: value.detach().clone() for name, value in vae.state_dict().items()}
    began = time.monotonic()
    for step in range(steps):
        elapsed = (time.monotonic() - began) / (minutes * 60)
        progress = max(step / steps, elapsed)
        if progress >= 1:
            break
        loss, mse = vae_loss(vae, batches.get())
        optimizer.step(loss, cosine_lr(round(progress * steps), steps, PEAK_LR))
        keep = min(0.99, (step + 1) / (step + 10))
        for name, value in vae.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        if step % 25 == 0:
            psnr = -10 * math.log10(max(mse, 1e-9))
            rate = (time.monotonic() - began) / (step + 1)
            print(
                f"vae {step}/{steps} ({progress:.0%}) loss {loss.item():.4f} "
                f"psnr {psnr:.2f} {rate:.2f} s/it",
                flush=True,
            )
    vae.load_state_dict(average)
    vae.eval().requires_grad_(False)
    return vae


def vae_loss(vae: TinyVAE, rgb_BTCHW: Tensor) -> tuple[Tensor, float]:
    """Loss of one batch, and its mean squared error in 0..1."""
    frames = rgb_BTCHW * 2 - 1
    cache = vae.init_cache(len(frames), frames.shape[-2], frames.shape[-1])
    z, _ = vae.encode(frames, cache, is_first=True)
    own = z / vae.dims.latent_scale
    noisy = own + torch.randn_like(own) * LATENT_NOISE
    out, _ = vae.decode(noisy * vae.dims.latent_scale, cache, is_first=True)
    mean = own.mean(dim=(0, 1, 3, 4))
    spread = own.std(dim=(0, 1, 3, 4))
    tidy = mean.square().mean() + (spread - 1).square().mean()
    error = out - frames
    loss = error.abs().mean() + 0.5 * gradient_l1(out, frames) + 0.1 * tidy
    return loss + 2 * F.mse_loss(out, frames), error.square().mean().item() / 4
