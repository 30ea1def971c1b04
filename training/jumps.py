"""After the DiT's training: its pictures do not depend on where a stream's frames are counted from.

# B clips  F latent frames  C channels  H W latent size

In training, frames stand at 0, 1, 2...; a stream whose positions are reset counts on to 49 while
its sink stays at 0, then falls back to 5 with a window that is still at 47 to 49. To a model that
has never seen such a window, it is a cut. So a copy of it that sees frames stand as in training
says what is to be drawn there, from the same latents with the same noise: all that differs is
where frames stand, so the picture can be the same. Nothing is learnt of pictures, hence no styled
clips, and few others.

What is to be small there is the distance, over what changes from frame to frame in that clip: a
step that is seen in a calm one is lost in a fast one. Not its square, which weighs the few draws
most that go far astray: with it all draws fell to a fifteenth of their spread in minutes. Where
frames stand as in training, pictures shall stay what they are: there it is the distance and its
square, in any clip alike.
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
from training.scores import distance, mean_loss
from training.train_dit import (
    OUTER,
    PROMPTS_PER_STYLE,
    Batch,
    Store,
    Student,
    later_sigmas,
    opening_sigmas,
)

PEAK_LR = 8e-4
EMA = 0.99
LEARNING = "self_attn"
"""Of the layers' names: positions are seen nowhere else. Prompts are to mean what they did."""
CELLS = 16
"""Side of the latent crops."""
SIZES = (1, 3)
"""Sides of the neighbourhoods that are compared, in cells."""
STILL = 0.3
"""Added to what changes in a clip, in latents of deviation 4.5: nothing does in a still one."""
FIRST_WEIGHT = 0.5
"""Of step one's means, beside the draws of the next: they hardly depend on where frames stand."""
WINDOW = CLIP_LATENTS - 1
KEPT_ONE_OF = 3
"""Clips of a batch: its frames stand as in training, there nothing shall change."""
KEPT_WEIGHT = 3.0
FEWEST = 2
"""Clips of a batch: one of each kind."""
JUMP_SHARE = 0.6
"""Of the others, those with a reset inside the window; in a stream it is 1 of 15."""


def drawn_positions(batch: int, device: torch.device) -> Tensor:
    """[B, F] of a sink and a window, as a stream with resets has them."""

    def whole(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (batch, 1), device=device)

    inside = whole(1, RESET_AT_FRAME - WINDOW + 1)
    across = whole(RESET_AT_FRAME - WINDOW + 1, RESET_AT_FRAME)
    has_jump = torch.rand(batch, 1, device=device) < JUMP_SHARE
    first = torch.where(has_jump, across, inside)
    window = first + torch.arange(WINDOW, device=device)
    window = torch.where(window < RESET_AT_FRAME, window, window - RESET_AT_FRAME + RESET_TO_FRAME)
    return torch.cat([torch.zeros_like(first), window], dim=1)


def jump_loss(student: Student, teacher: Student, batch: Batch, prompts: Prompts) -> Tensor:
    """[loss, error of step one, of the next, and of both where frames stand as in training]; the
    first has a gradient."""
    source, scale = batch.source_BFCHW, TINY_VAE.latent_scale
    num_kept = kept_of(len(source))
    positions = drawn_positions(len(source), source.device)
    positions[:num_kept] = torch.arange(CLIP_LATENTS, device=source.device)
    sigma = opening_sigmas(len(source), source.device)
    with torch.no_grad():
        text_kv = teacher.prompt_kv(prompts, batch)
        noisy = add_noise(source, torch.randn_like(source), sigma)
        first = teacher.predict(noisy, sigma, text_kv)
        later = later_sigmas(sigma)
        noisier = add_noise(first, torch.randn_like(first), later)
        second = teacher.predict(noisier, later, text_kv)

    def errors(z: Tensor, wanted: Tensor) -> Tensor:
        kept = mean_loss(z[:num_kept] / scale, wanted[:num_kept] / scale)
        return torch.stack([relative_error(z[num_kept:], wanted[num_kept:]), kept])

    first_2 = errors(student.predict(noisy, sigma, text_kv, positions), first)
    second_2 = errors(student.predict(noisier, later, text_kv, positions), second)
    kept = first_2[1] + second_2[1]
    loss = FIRST_WEIGHT * first_2[0] + second_2[0] + KEPT_WEIGHT * kept
    return torch.stack([loss, *(one.detach() for one in (first_2[0], second_2[0], kept))])


def kept_of(batch: int) -> int:
    """How many clips of a batch stand as in training: some, and not all."""
    assert batch >= FEWEST, f"{batch} clips at once, at least {FEWEST}"
    return max(batch // KEPT_ONE_OF, 1)


def relative_error(latents_BFCHW: Tensor, wanted_BFCHW: Tensor) -> Tensor:
    """Distance from what is wanted over what changes there from frame to frame, mean of the clips.

    The first frame is another time, often: only later ones change.
    """
    change_B = wanted_BFCHW[:, 1:].diff(dim=1).square().mean((1, 2, 3, 4)).sqrt() + STILL
    error_SB = torch.stack([distance(latents_BFCHW, wanted_BFCHW, size) for size in SIZES])
    return (error_SB / change_B).mean()


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
    labels = ("loss", "first", "second", "kept")
    train("jumps", lambda _progress, _number: step, labels, optimizer, PEAK_LR, limit)
    average.write_()
    return student.eval().requires_grad_(False)
