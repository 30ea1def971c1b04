"""The embedded DiT and its text encoder: style transfer as few-step denoising of video latents.

# B clips  F latent frames  C channels  H W latent size

Paired data makes the teacher unnecessary: the scene is known, so is the styled picture. What a
step sees in training is exactly what it sees in the stream, because every step keeps a KV row of
its own: step one sees noisy source latents (now and in its past), a later step sees the noisy
prediction of the step before. No rollout is needed: step one's past does not depend on outputs.
Source: ../shared/design/field.md, section 6; Diffusion Forcing for the per-frame noise.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdv2_host.bench.prompts import random_prompt
from sdv2_host.bench.styles import STYLES
from sdv2_host.wan.attention import WholeAttend, block_causal_mask
from sdv2_host.wan.dims import TINY_DIT, TINY_TEXT
from sdv2_host.wan.flow import add_noise, to_x0
from sdv2_host.wan.model import CausalWanModel, TextKV
from sdv2_host.wan.rope import rotary_table
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from training.data import CLIP_LATENTS
from training.optim import MuonAndAdam
from training.train_vae import cosine_lr, gradient_l1

PEAK_LR = 2e-3
EMA = 0.998
OUTER = ("dit.patch_embedding", "dit.head", "dit.time", "text.grams", "text.position")
"""Layers that touch the outside; their weights are not updated as matrices."""
SWITCH_SHARE = 0.15
PLAIN_SHARE = 0.06
"""Share of clips whose target is the source itself, prompted with nothing or 'no style'."""
PLAIN_PROMPTS = (
    "",
    "",
    "photo",
    "no style",
    "natural camera picture",
    "unchanged",
    "realistic video",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the curriculum."""

    latents: Path
    steps: int
    batch: int
    cells: int
    """Side of the latent crop."""
    pixel_weight: float = 0.0


class Batch(NamedTuple):
    source_BFCHW: Tensor
    target_BFCHW: Tensor
    prompts: list[str]
    """2B prompts: before and after a switch."""
    prompt_of_BF: Tensor
    """Index into `prompts`."""


class Store:
    """Latents of one stage in memory; draws batches."""

    def __init__(self, path: Path, seed: int) -> None:
        stored = torch.load(path, weights_only=True)
        self._latents = stored["latents"]
        self._styles = stored["styles"].tolist()
        self._names = list(STYLES)
        self._rng = random.Random(seed)
        self._words = np.random.default_rng(seed)

    def draw(self, batch: int, cells: int) -> Batch:
        rng = self._rng
        sources, targets, prompts, indices = [], [], [], []
        for row in range(batch):
            clip = rng.randrange(len(self._latents))
            limit = (self._latents.shape[-1] - cells) // 2
            y, x = (2 * rng.randint(0, limit) for _ in range(2))
            variants = self._latents[clip, ..., y : y + cells, x : x + cells].float()
            before, after = self._pick(clip), self._pick(clip)
            switch_at = rng.randint(1, CLIP_LATENTS - 1) if rng.random() < SWITCH_SHARE else None
            switch_at = CLIP_LATENTS if switch_at is None else switch_at
            sources.append(variants[0])
            targets.append(
                torch.cat([variants[before[0], :switch_at], variants[after[0], switch_at:]])
            )
            prompts += [before[1], after[1]]
            indices.append([2 * row + (frame >= switch_at) for frame in range(CLIP_LATENTS)])
        return Batch(torch.stack(sources), torch.stack(targets), prompts, torch.tensor(indices))

    def _pick(self, clip: int) -> tuple[int, str]:
        """(variant, prompt) for this clip."""
        if self._rng.random() < PLAIN_SHARE:
            return 0, self._rng.choice(PLAIN_PROMPTS)
        which = self._rng.randrange(len(self._styles[clip]))
        style = self._names[self._styles[clip][which]]
        return which + 1, random_prompt(style, self._words, "train")


class Student(nn.Module):
    """DiT and text encoder, trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.dit = CausalWanModel(TINY_DIT)
        self.text = TinyTextEncoder(TINY_TEXT)
        nn.init.zeros_(self.dit.head.head.weight)
        nn.init.zeros_(self.dit.head.head.bias)

    def prompt_kv(self, batch: Batch) -> list[TextKV]:
        rows = batch.prompt_of_BF.flatten()
        return [
            TextKV(kv.k_BKND[rows], kv.v_BKND[rows])
            for kv in self.dit.text_kv(self.text(batch.prompts))
        ]

    def predict(self, x_t: Tensor, sigma_BF: Tensor, text_kv: list[TextKV]) -> Tensor:
        """Clean latents from noisy ones; every frame sees itself and the frames before it."""
        frames, height, width = x_t.shape[1], x_t.shape[-2] // 2, x_t.shape[-1] // 2
        table = rotary_table(TINY_DIT.head_dim, torch.arange(frames), height, width)
        attend = WholeAttend(
            type(table)(table.cos_SP.float(), table.sin_SP.float()),
            block_causal_mask(frames, height * width),
        )
        return to_x0(x_t, self.dit(x_t, sigma_BF * 1000, text_kv, attend), sigma_BF)


def opening_sigmas(num_clips: int) -> Tensor:
    """[B, F] noise of step one: near each other within a clip, as the motion controller moves."""
    base = torch.empty(num_clips, 1).uniform_(0.25, 0.7)
    return (base + torch.randn(num_clips, CLIP_LATENTS) * 0.03).clamp(0.15, 0.95)


def later_sigmas(num_clips: int) -> Tensor:
    """[B, F] noise of a later step, one level per clip."""
    base = torch.empty(num_clips, 1).uniform_(0.15, 0.5)
    return base.expand(-1, CLIP_LATENTS)


def student_loss(student: Student, batch: Batch, vae: TinyVAE, pixel_weight: float) -> Tensor:
    """Step-one loss, plus the loss of a later step on step one's own (detached) prediction."""
    scale = vae.dims.latent_scale
    text_kv = student.prompt_kv(batch)
    num_clips = len(batch.source_BFCHW)
    sigma = opening_sigmas(num_clips)
    noise = torch.randn_like(batch.source_BFCHW)
    first = student.predict(add_noise(batch.source_BFCHW, noise, sigma), sigma, text_kv)
    loss = latent_loss(first, batch.target_BFCHW, scale)
    half = max(num_clips // 2, 1)
    rows = half * CLIP_LATENTS
    part_kv = [TextKV(kv.k_BKND[:rows], kv.v_BKND[:rows]) for kv in text_kv]
    sigma = later_sigmas(half)
    renoised = add_noise(first[:half].detach(), torch.randn_like(first[:half]), sigma)
    later = student.predict(renoised, sigma, part_kv)
    loss = loss + 0.5 * latent_loss(later, batch.target_BFCHW[:half], scale)
    if pixel_weight:
        loss = loss + pixel_weight * pixel_loss(vae, later[:1], batch.target_BFCHW[:1])
    return loss


def latent_loss(z: Tensor, target: Tensor, scale: float) -> Tensor:
    """L1 and L2 in the autoencoder's own units."""
    error = (z - target) / scale
    return error.abs().mean() + error.square().mean()


def pixel_loss(vae: TinyVAE, z: Tensor, target: Tensor) -> Tensor:
    """What the latents look like: L1 and gradient L1 of the decoded window."""
    out = _window_pictures(vae, z)
    with torch.no_grad():
        want = _window_pictures(vae, target)
    return (out - want).abs().mean() + gradient_l1(out, want)


def _window_pictures(vae: TinyVAE, z: Tensor) -> Tensor:
    side = z.shape[-1] * 8
    cache = vae.init_cache(len(z), side, side)
    return vae.decode(z[:, 1:], cache, is_first=False).frames_BTCHW


def train_dit(
    vae: TinyVAE,
    stages: list[Stage],
    seed: int,
    minutes: float,
    on_checkpoint: Callable[[Student], None],
    start: Student | None = None,
) -> Student:
    """The averaged student after all stages, or after `minutes`, whichever comes first.

    Goes on from the weights of `start`, if given.
    """
    torch.manual_seed(seed)
    student = Student()
    if start is not None:
        student.load_state_dict(start.state_dict())
    average = copy.deepcopy(student).eval().requires_grad_(False)
    optimizer = MuonAndAdam(student, PEAK_LR, outer=OUTER)
    total = sum(stage.steps for stage in stages)
    began = time.monotonic()
    step = 0
    for number, stage in enumerate(stages):
        store = Store(stage.latents, seed + number)
        stage_end = sum(s.steps for s in stages[: number + 1]) / total
        for _ in range(stage.steps):
            elapsed = (time.monotonic() - began) / (minutes * 60)
            progress = max(step / total, elapsed)
            if progress >= stage_end:
                break
            batch = store.draw(stage.batch, stage.cells)
            loss = student_loss(student, batch, vae, stage.pixel_weight)
            optimizer.step(loss, cosine_lr(round(progress * total), total, PEAK_LR))
            _follow(average, student, min(EMA, (step + 1) / (step + 10)))
            step += 1
            if step % 50 == 0:
                rate = (time.monotonic() - began) / step
                print(
                    f"dit stage {number} step {step}/{total} ({progress:.0%}) "
                    f"loss {loss.item():.4f} {rate:.2f} s/it",
                    flush=True,
                )
            if step % 200 == 0:
                on_checkpoint(average)
            assert math.isfinite(loss.item()), f"loss is {loss.item()} at step {step}"
    return average


def _follow(average: Student, student: Student, keep: float) -> None:
    for kept, new in zip(average.parameters(), student.parameters(), strict=True):
        kept.lerp_(new.detach(), 1 - keep)
