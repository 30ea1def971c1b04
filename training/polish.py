"""Last step: the decoder learns to paint what the DiT really hands it.

Encoder and DiT stay as they are, so latents keep their meaning; only decoder weights change.
Trained on the student's own two-step draws and on true latents, against true pixels: what a draw
has that no picture has, such as borders of latent cells, is painted over, and lines that it only
hints at come back sharp. But a decoder so trained also blurs what draws may differ in, so it goes
only a part of the way, as weights between two of one training do well (Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models").

# N clips  D the true latents and draws  F latent frames  C channels  H W size
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.spec import MAX_STEP_RATIO
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX
from sdv2_host.wan.flow import add_noise
from sdv2_host.wan.tiny_vae import TinyVAE
from training.data import CLIPS_AT_ONCE, Encoded, styled_copy, to_rgb
from training.optim import Average, Limit, MuonAndAdam, repeated, train
from training.prompts import prompt_bank
from training.train_dit import Batch, Student
from training.train_vae import decoded, gradient_l1

CROP_CELLS = 12
WINDOW = 3
"""Latents decoded per sample; the first only fills the decoder's memory."""
PEAK_LR = 6e-4
EMA = 0.99
SERVED_SIGMAS = (0.3, 0.55)
"""Noise of step one lies between: the default motion range and a little more."""
DRAWS = 3
SHARE = 0.25
"""Of the way from the decoder as it was."""
PROMPTS_PER_STYLE = 40


class Pairs(NamedTuple):
    """Per clip, in one of its styles: latents, and what they should look like."""

    latents_NDFCHW: Tensor
    """The true ones, then `DRAWS` draws."""
    frames_NTHW3: Tensor
    """uint8."""


@torch.no_grad()
def make_pairs(student: Student, clips_NTHW3: Tensor, encoded: Encoded, seed: int) -> Pairs:
    """Draws of every clip, by prompts of the first style that it is there in."""
    torch.manual_seed(seed)
    latents, device = encoded.latents_NVFCHW, encoded.latents_NVFCHW.device
    prompts = prompt_bank(student.text, PROMPTS_PER_STYLE, seed)
    pairs: list[Tensor] = []
    for rows in torch.arange(len(latents), device=device).split(CLIPS_AT_ONCE):
        source, target = latents[rows, 0].float(), latents[rows, 1].float()
        picked = torch.randint(0, PROMPTS_PER_STYLE, (len(rows), 2), device=device)
        prompt_B2 = encoded.styles_NV[rows, 1, None] * PROMPTS_PER_STYLE + picked
        before = torch.zeros(source.shape[:2], dtype=torch.long, device=device)
        text_kv = student.prompt_kv(prompts, Batch(source, target, prompt_B2, before))
        drawn = [target]
        for _ in range(DRAWS):
            z, sigma = source, torch.empty(len(rows), 1, device=device).uniform_(*SERVED_SIGMAS)
            for level in (sigma, sigma * MAX_STEP_RATIO):
                sigma_BF = level.expand(source.shape[:2])
                noisy = add_noise(z, torch.randn_like(z), sigma_BF)
                z = student.predict(noisy, sigma_BF, text_kv)
            drawn.append(z)
        pairs.append(torch.stack(drawn, dim=1).half())
    frames = styled_copy(clips_NTHW3.to(device), encoded.styles_NV[:, 1])
    return Pairs(torch.cat(pairs), frames)


def draw(pairs: Pairs, batch: int) -> tuple[Tensor, Tensor]:
    """Latents [B, WINDOW, C, h, w] and the frames [B, 4 (WINDOW - 1), 3, H, W] of all but one."""
    latents, device = pairs.latents_NDFCHW, pairs.latents_NDFCHW.device
    num_clips, num_kinds, num_frames = latents.shape[:3]

    def whole(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (batch, 1, 1, 1), device=device)

    def span(first: Tensor, length: int) -> Tensor:
        return first + torch.arange(length, device=device)

    clip, kind = whole(0, num_clips), whole(0, num_kinds)
    first = whole(1, num_frames - WINDOW + 1)
    places = (latents.shape[-1] - CROP_CELLS) // 2 + 1
    y, x = 2 * whole(0, places), 2 * whole(0, places)
    frame = span(first, WINDOW).movedim(-1, 1)
    rows, columns = span(y, CROP_CELLS).movedim(-1, 2), span(x, CROP_CELLS)
    z = latents[clip, kind, frame, :, rows, columns].movedim(-1, 2).float()
    # Latent 1 stands for frames 2..5 of the clip, latent 2 for 6..9, and so on.
    shown = span(2 + FRAMES_PER_LATENT * first, FRAMES_PER_LATENT * (WINDOW - 1)).movedim(-1, 1)
    side_px = LATENT_STRIDE_PX * CROP_CELLS
    rows, columns = (span(LATENT_STRIDE_PX * start, side_px) for start in (y, x))
    rows = rows.movedim(-1, 2)
    return z, to_rgb(pairs.frames_NTHW3[clip, shown, rows, columns])


def polish_loss(vae: TinyVAE, latents_BFCHW: Tensor, rgb_BTCHW: Tensor) -> Tensor:
    """How far what the latents look like is from the frames."""
    want, out = rgb_BTCHW * 2 - 1, decoded(vae, latents_BFCHW)[:, FRAMES_PER_LATENT:]
    loss = (out - want).abs().mean() + 0.5 * gradient_l1(out, want)
    return loss + 2 * F.mse_loss(out, want)


def polish(vae: TinyVAE, pairs: Pairs, batch: int, minutes: float, seed: int) -> TinyVAE:
    """The autoencoder with a decoder trained for so long; prints the loss as it goes."""
    device = pairs.latents_NDFCHW.device
    torch.manual_seed(seed)
    vae.decoder.requires_grad_(True)
    before = [parameter.detach().clone() for parameter in vae.decoder.parameters()]
    optimizer, average = MuonAndAdam(vae.decoder, PEAK_LR, outer=()), Average(vae.decoder, EMA)

    def learn() -> Tensor:
        loss = polish_loss(vae, *draw(pairs, batch))
        optimizer.step(loss)
        average.follow_()
        return loss.detach().reshape(1)

    step, limit = repeated(learn, device), Limit(minutes)
    train("polish", lambda _progress, _number: step, ("loss",), optimizer, PEAK_LR, limit)
    average.write_()
    with torch.no_grad():
        for parameter, old in zip(vae.decoder.parameters(), before, strict=True):
            parameter.lerp_(old, 1 - SHARE)
    return vae.eval().requires_grad_(False)
