"""Last step: the decoder learns to paint what the DiT really hands it.

Encoder and DiT stay as they are, so latents keep their meaning; only decoder weights change.
Trained on the student's own two-step predictions and on true latents, against true pixels: lines
and hatching that a prediction only hints at come back sharp.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.bench.prompts import random_prompt
from sdv2_host.bench.styles import STYLES
from sdv2_host.wan.flow import add_noise
from sdv2_host.wan.tiny_vae import TinyVAE
from training.data import style_clip, to_rgb
from training.optim import MuonAndAdam
from training.train_dit import Batch, Student
from training.train_vae import cosine_lr, gradient_l1

BATCH = 8
CROP_CELLS = 12
WINDOW = 3
"""Latents decoded per sample; the first only fills the decoder's memory."""
PEAK_LR = 6e-4
SERVED_SIGMAS = (0.43, 0.36)
"""Noise of the two steps at the default settings, in the middle of the motion range."""
PREDICTED_SHARE = 0.7


class Pairs(NamedTuple):
    """Per clip, in one style each: true and predicted latents, and what they should look like."""

    true_NFCHW: Tensor
    predicted_NFCHW: Tensor
    frames: NDArray[np.uint8]
    """[N, 18, side, side, 3]."""


def predict_two_steps(student: Student, source_BFCHW: Tensor, prompts: list[str]) -> Tensor:
    """The clean latents that two steps of the stream would give."""
    rows = torch.arange(len(prompts))[:, None].expand(source_BFCHW.shape[:2])
    text_kv = student.prompt_kv(Batch(source_BFCHW, source_BFCHW, prompts, rows))
    z = source_BFCHW
    for level in SERVED_SIGMAS:
        sigma = torch.full(source_BFCHW.shape[:2], level)
        z = student.predict(add_noise(z, torch.randn_like(z), sigma), sigma, text_kv)
    return z


@torch.no_grad()
def make_pairs(
    student: Student, clips_path: Path, latents_path: Path, count: int, seed: int
) -> Pairs:
    """Pairs of the first `count` clips, in one of the styles that their latents exist in."""
    rng, words = random.Random(seed), np.random.default_rng(seed)
    torch.manual_seed(seed)
    stored = torch.load(latents_path, weights_only=True)
    names = list(STYLES)
    picks = [rng.randrange(stored["styles"].shape[1]) for _ in range(count)]
    styles = [names[int(stored["styles"][i, pick])] for i, pick in enumerate(picks)]
    true = torch.stack([stored["latents"][i, pick + 1] for i, pick in enumerate(picks)])
    sources = stored["latents"][:count, 0].float()
    predicted = []
    for first in range(0, count, BATCH):
        part = slice(first, first + BATCH)
        prompts = [random_prompt(style, words, "train") for style in styles[part]]
        predicted.append(predict_two_steps(student, sources[part], prompts).half())
    clips = np.load(clips_path, mmap_mode="r")[:count]
    jobs = [(np.array(clip), style) for clip, style in zip(clips, styles, strict=True)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        frames = np.stack(list(pool.imap(style_clip, jobs, chunksize=8)))
    return Pairs(true, torch.cat(predicted), frames)


def draw(pairs: Pairs, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Latents [B, WINDOW, C, h, w] and the frames [B, 4 (WINDOW - 1), 3, H, W] of all but one."""
    latents, targets = [], []
    limit = (pairs.true_NFCHW.shape[-1] - CROP_CELLS) // 2
    for _ in range(BATCH):
        clip = rng.randrange(len(pairs.frames))
        first = rng.randint(1, pairs.true_NFCHW.shape[1] - WINDOW)
        y, x = (2 * rng.randint(0, limit) for _ in range(2))
        kind = pairs.predicted_NFCHW if rng.random() < PREDICTED_SHARE else pairs.true_NFCHW
        cells = (slice(y, y + CROP_CELLS), slice(x, x + CROP_CELLS))
        latents.append(kind[clip, first : first + WINDOW, :, *cells].float())
        # Latent 1 stands for frames 2..5 of the clip, latent 2 for 6..9, and so on.
        shown = slice(2 + 4 * first, 2 + 4 * (first + WINDOW - 1))
        pixels = (slice(8 * y, 8 * (y + CROP_CELLS)), slice(8 * x, 8 * (x + CROP_CELLS)))
        targets.append(to_rgb(pairs.frames[clip, shown, *pixels]))
    return torch.stack(latents), torch.stack(targets)


def polish(vae: TinyVAE, pairs: Pairs, minutes: float, seed: int) -> TinyVAE:
    """The autoencoder with a decoder trained for so long; prints the loss as it goes."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    vae.decoder.requires_grad_(True)
    optimizer = MuonAndAdam(vae.decoder, PEAK_LR, outer=())
    average = {name: value.detach().clone() for name, value in vae.decoder.state_dict().items()}
    side = CROP_CELLS * 8
    began, step, progress = time.monotonic(), 0, 0.0
    while progress < 1:
        latents, rgb = draw(pairs, rng)
        cache = vae.init_cache(BATCH, side, side)
        out = vae.decode(latents, cache, is_first=False).frames_BTCHW[:, 4:]
        want = rgb * 2 - 1
        loss = (out - want).abs().mean() + 0.5 * gradient_l1(out, want)
        loss = loss + 2 * F.mse_loss(out, want)
        optimizer.step(loss, cosine_lr(round(progress * 1000), 1000, PEAK_LR, warm=30))
        keep = min(0.99, (step + 1) / (step + 10))
        for name, value in vae.decoder.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        if step % 50 == 0:
            print(f"polish {step} ({progress:.0%}) loss {loss.item():.4f}", flush=True)
        step += 1
        progress = (time.monotonic() - began) / (minutes * 60)
    vae.decoder.load_state_dict(average)
    vae.eval().requires_grad_(False)
    return vae
