"""After the DiT's training: its pictures do not depend on where a stream's frames are counted from.

# B clips  F latent frames  C channels  H W latent size

In training, frames stand at 0, 1, 2...; a stream whose positions are reset counts on to 49 while
its sink stays at 0, then falls back to 5 with a window that is still at 47 to 49. To a model that
has never seen such a window, it is a cut. So a copy of it that sees frames stand as in training
says what is to be drawn there: its means, and its draws by the energy score, with which they stay
as far apart as they were. (By the square error of draws of the same noise that fell to a fifteenth
in minutes.) Nothing is learnt of pictures, hence no styled clips, and few others.
Source: StreamDiffusionV2, section 4.3 "RoPE refresh"; `stream.positions.PositionMode.RESET`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sdv2_host.stream.positions import RESET_AT_FRAME, RESET_TO_FRAME
from sdv2_host.wan.dims import TINY_VAE
from sdv2_host.wan.flow import add_noise
from training.data import CLIP_LATENTS, Encoded
from training.optim import Average, Limit, MuonAndAdam, repeated, train
from training.prompts import Prompts, prompt_bank
from training.scores import LATENT_SIZES, energy_score, mean_loss
from training.train_dit import (
    OUTER,
    PROMPTS_PER_STYLE,
    Batch,
    Store,
    Student,
    later_sigmas,
    opening_sigmas,
)

PEAK_LR = 1e-3
EMA = 0.99
LEARNING = "self_attn"
"""Of the layers' names: positions are seen nowhere else. Prompts are to mean what they did."""
CELLS = 16
"""Side of the latent crops."""
WINDOW = CLIP_LATENTS - 1
KEPT_SHARE = 0.25
"""Of clips whose frames stand as in training: there nothing shall change."""
JUMP_SHARE = 0.6
"""Of the others, those with a reset inside the window; in a stream it is 1 of 15."""


def drawn_positions(batch: int, device: torch.device) -> Tensor:
    """[B, F] of a sink and a window, as a stream with resets has them."""

    def whole(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (batch, 1), device=device)

    def chance(share: float) -> Tensor:
        return torch.rand(batch, 1, device=device) < share

    inside = whole(1, RESET_AT_FRAME - WINDOW + 1)
    across = whole(RESET_AT_FRAME - WINDOW + 1, RESET_AT_FRAME)
    first = torch.where(chance(JUMP_SHARE), across, inside)
    first = first.masked_fill(chance(KEPT_SHARE), 1)
    window = first + torch.arange(WINDOW, device=device)
    window = torch.where(window < RESET_AT_FRAME, window, window - RESET_AT_FRAME + RESET_TO_FRAME)
    return torch.cat([torch.zeros_like(first), window], dim=1)


def jump_loss(student: Student, teacher: Student, batch: Batch, prompts: Prompts) -> Tensor:
    """[loss, mean loss of step one, energy score, and what a draw's distance from another is over
    that from the teacher's]; the first has a gradient."""
    source, scale = batch.source_BFCHW, TINY_VAE.latent_scale
    positions = drawn_positions(len(source), source.device)
    sigma = opening_sigmas(len(source), source.device)
    with torch.no_grad():
        text_kv = teacher.prompt_kv(prompts, batch)
        noisy = add_noise(source, torch.randn_like(source), sigma)
        first = teacher.predict(noisy, sigma, text_kv)
        later = later_sigmas(sigma)
        noisier = add_noise(first, torch.randn_like(first), later)
        drawn = teacher.predict(noisier, later, text_kv)
    mean = mean_loss(student.predict(noisy, sigma, text_kv, positions) / scale, first / scale)
    both = student.draw_two(first, later, text_kv, positions)
    score, spread = energy_score(both / scale, drawn / scale, LATENT_SIZES)
    return torch.stack([mean + score, mean.detach(), score.detach(), spread])


def learn_jumps(student: Student, encoded: Encoded, batch: int, limit: Limit, seed: int) -> Student:
    """The student, indifferent to resets; prints the loss as it goes. Of the clips only the
    unstyled ones are looked at."""
    device = encoded.latents_NVFCHW.device
    torch.manual_seed(seed)
    student.to(device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(LEARNING in name)
    prompts = prompt_bank(teacher.text, PROMPTS_PER_STYLE, seed)
    store = Store(encoded, PROMPTS_PER_STYLE)
    optimizer, average = MuonAndAdam(student, PEAK_LR, outer=OUTER), Average(student, EMA)

    def learn() -> Tensor:
        result = jump_loss(student, teacher, store.draw(batch, CELLS), prompts)
        optimizer.step(result[0])
        average.follow_()
        return result.detach()

    step = repeated(learn, device)
    labels = ("loss", "mean", "score", "spread")
    train("jumps", lambda _progress, _number: step, labels, optimizer, PEAK_LR, limit)
    average.write_()
    return student.eval().requires_grad_(False)
