"""The embedded DiT and its text encoder: style transfer as few-step denoising of video latents.

# B clips  F latent frames  C channels  H W latent size  M members of a forecast (2)

Paired data makes the teacher unnecessary: the scene is known, so is the styled picture. What a
step sees in training is exactly what it sees in the stream, because every step keeps a KV row of
its own: step one sees noisy source latents (now and in its past), a later step sees the noisy
prediction of the step before. No rollout is needed: step one's past does not depend on outputs.

Step one learns the mean of what the noise leaves possible. A mean is blurred, and the more noise,
the more so; so a later step learns to draw one of the possible pictures, with the noise that it is
given as its dice. What scores a draw is the energy score of two of them: their distance from the
truth, less half their distance from each other. Nothing but drawing from the true distribution
makes it smallest, which the errors of a mean do not.
Source: ../shared/design/field.md, section 6; Diffusion Forcing for the per-frame noise; Gneiting
and Raftery 2007, "Strictly proper scoring rules", section 4.2, for the energy score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sdv2_host.stream.spec import MAX_STEP_RATIO
from sdv2_host.wan.attention import attention
from sdv2_host.wan.dims import TINY_DIT, TINY_TEXT
from sdv2_host.wan.flow import add_noise, to_x0
from sdv2_host.wan.model import CausalWanModel, TextKV
from sdv2_host.wan.rope import Rotary, rotary_table, rotate
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from training.data import CLIP_LATENTS, Encoded
from training.optim import Average, Limit, MuonAndAdam, repeated, train
from training.prompts import Prompts, embed, prompt_bank
from training.scores import LATENT_SIZES, decoded_score, energy_score, mean_loss

PEAK_LR = 2e-3
EMA = 0.999
OUTER = ("dit.patch_embedding", "dit.head", "dit.time", "text.grams", "text.position")
"""Layers that touch the outside; their weights are not updated as matrices."""
SWITCH_SHARE = 0.15
PLAIN_SHARE = 0.06
"""Share of clips whose target is the source itself, prompted with nothing or 'no style'."""
PROMPTS_PER_STYLE = 400


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the curriculum: its batches in turn, one step each."""

    until: float
    """Progress 0..1 at its end."""
    batches: tuple[tuple[int, int], ...]
    """(clips, side of the latent crop)."""


class Batch(NamedTuple):
    source_BFCHW: Tensor
    target_BFCHW: Tensor
    prompt_B2: Tensor
    """Rows of the prompts before and after a switch."""
    is_after_BF: Tensor
    """int64, 1 from the switch on."""


class Store:
    """Draws batches of latents on their device."""

    def __init__(self, encoded: Encoded, prompts_per_style: int) -> None:
        self._latents = encoded.latents_NVFCHW
        self._styles = encoded.styles_NV
        self._per_style = prompts_per_style

    def draw(self, batch: int, cells: int) -> Batch:
        latents, device = self._latents, self._latents.device
        num_clips, num_variants = self._styles.shape

        def whole(high: int, *shape: int) -> Tensor:
            return torch.randint(0, high, (batch, *shape), device=device)

        clip_B = whole(num_clips)
        variant_B2 = 1 + whole(num_variants - 1, 2)
        variant_B2 = variant_B2.masked_fill(torch.rand(batch, 2, device=device) < PLAIN_SHARE, 0)
        style_B2 = self._styles[clip_B[:, None], variant_B2]
        prompt_B2 = style_B2 * self._per_style + whole(self._per_style, 2)
        frame_F = torch.arange(CLIP_LATENTS, device=device)
        switch_B1 = 1 + whole(CLIP_LATENTS - 1, 1)
        is_switched_B1 = torch.rand(batch, 1, device=device) < SWITCH_SHARE
        is_after_BF = ((frame_F >= switch_B1) & is_switched_B1).long()
        variant_BF = variant_B2.gather(1, is_after_BF)
        places = (latents.shape[-1] - cells) // 2 + 1
        cell = torch.arange(cells, device=device)
        y = (2 * whole(places, 1, 1, 1)) + cell[:, None]
        x = (2 * whole(places, 1, 1, 1)) + cell

        def cut(variant_BF: Tensor) -> Tensor:
            clip = clip_B[:, None, None, None]
            cells = latents[clip, variant_BF[:, :, None, None], frame_F[:, None, None], :, y, x]
            return cells.movedim(-1, 2).float()

        return Batch(cut(torch.zeros_like(variant_BF)), cut(variant_BF), prompt_B2, is_after_BF)


class CausalAttend:
    """Every frame over itself and the frames before it, frame by frame: `WholeAttend` under
    `block_causal_mask` without the mask, which the fast kernels do not take."""

    def __init__(self, rotary: Rotary, num_frames: int) -> None:
        self._rotary = rotary
        self._num_frames = num_frames

    def __call__(self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
        del block_index
        q_BSND, k_BSND = rotate(q_BSND, self._rotary), rotate(k_BSND, self._rotary)
        heads, seen = [], 0
        for query_BSND in q_BSND.chunk(self._num_frames, dim=1):
            seen += query_BSND.shape[1]
            heads.append(attention(query_BSND, k_BSND[:, :seen], v_BSND[:, :seen]))
        return torch.cat(heads, dim=1)


class Student(nn.Module):
    """DiT and text encoder, trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.dit = CausalWanModel(TINY_DIT)
        self.text = TinyTextEncoder(TINY_TEXT)
        nn.init.zeros_(self.dit.head.head.weight)
        nn.init.zeros_(self.dit.head.head.bias)
        self._attends: dict[tuple[int, int, int], CausalAttend] = {}

    def prompt_kv(self, prompts: Prompts, batch: Batch) -> list[TextKV]:
        """Of every clip's every frame, in this order: [B*F, ...]."""
        used = Prompts(*(part[batch.prompt_B2.flatten()] for part in prompts))
        row_B = torch.arange(len(batch.prompt_B2), device=batch.prompt_B2.device)
        rows = (2 * row_B[:, None] + batch.is_after_BF).flatten()
        return [
            TextKV(*(part.index_select(0, rows) for part in kv))
            for kv in self.dit.text_kv(embed(self.text, used))
        ]

    def predict(
        self,
        x_t: Tensor,
        sigma_BF: Tensor,
        text_kv: list[TextKV],
        positions_BF: Tensor | None = None,
    ) -> Tensor:
        """Clean latents from noisy ones, in float32; every frame sees itself and those before.

        Without positions, frames stand at 0, 1, 2...
        """
        frames, height, width = x_t.shape[1], x_t.shape[-2] // 2, x_t.shape[-1] // 2
        if positions_BF is None:
            attend = self._attend(frames, height, width, x_t.device)
        else:
            attend = CausalAttend(_rotary(positions_BF, height, width), frames)
        told = x_t.to(text_kv[0].k_BKND.dtype)
        return to_x0(x_t, self.dit(told, sigma_BF * 1000, text_kv, attend).float(), sigma_BF)

    def _attend(self, frames: int, height: int, width: int, device: torch.device) -> CausalAttend:
        key = (frames, height, width)
        if key not in self._attends:
            positions_F = torch.arange(frames, device=device)
            self._attends[key] = CausalAttend(_rotary(positions_F, height, width), frames)
        return self._attends[key]

    def forward(self, batch: Batch, prompts: Prompts, vae: TinyVAE, pixel_weight: float) -> Tensor:
        """What `student_loss` says, with the weights that it is called with."""
        scale = vae.dims.latent_scale
        text_kv = self.prompt_kv(prompts, batch)
        target = batch.target_BFCHW
        sigma = opening_sigmas(len(target), target.device)
        noise = torch.randn_like(target)
        first = self.predict(add_noise(batch.source_BFCHW, noise, sigma), sigma, text_kv)
        loss = mean = mean_loss(first / scale, target / scale)

        sigma = later_sigmas(sigma)
        second = self.draw_two(first.detach(), sigma, text_kv)
        score, spread = energy_score(second / scale, target / scale, LATENT_SIZES)
        loss = loss + score

        few = max(len(sigma) // 4, 1)
        kv = [TextKV(*(part[: few * CLIP_LATENTS] for part in one)) for one in text_kv]
        third = self.draw_two(second[0, :few].detach(), later_sigmas(sigma[:few]), kv)
        loss = loss + 0.25 * energy_score(third / scale, target[:few] / scale, LATENT_SIZES)[0]
        if pixel_weight:
            few = max(len(sigma) // 4, 1)
            loss = loss + pixel_weight * decoded_score(vae, second[:, :few], target[:few])
        return torch.stack([loss, mean.detach(), score.detach(), spread])

    def draw_two(self, clean_BFCHW: Tensor, sigma_BF: Tensor, text_kv: list[TextKV]) -> Tensor:
        """[M, B, F, C, H, W]: a step's prediction from these latents, with two noises."""
        both = torch.cat([clean_BFCHW, clean_BFCHW])
        sigma = torch.cat([sigma_BF, sigma_BF])
        kv = [TextKV(*(torch.cat([part, part]) for part in one)) for one in text_kv]
        noisy = add_noise(both, torch.randn_like(both), sigma)
        drawn = self.predict(noisy, sigma, kv)
        return drawn.unflatten(0, (2, -1))


def _rotary(positions: Tensor, height: int, width: int) -> Rotary:
    """Of the tokens of frames at these positions: [S, P] of [F], or [B, S, P] of [B, F]."""
    table = rotary_table(TINY_DIT.head_dim, positions.flatten(), height, width)
    shape = (*positions.shape[:-1], -1, table.cos_SP.shape[-1])
    return Rotary(*(part.float().view(shape) for part in table))


def opening_sigmas(batch: int, device: torch.device) -> Tensor:
    """[B, F] noise of step one: it moves within a clip as the motion controller moves it."""
    base = torch.empty(batch, 1, device=device).uniform_(0.2, 0.8)
    sway = torch.randn(batch, CLIP_LATENTS, device=device)
    return (base + sway * torch.empty(batch, 1, device=device).uniform_(0, 0.1)).clamp(0.1, 0.95)


def later_sigmas(before_BF: Tensor) -> Tensor:
    """[B, F] noise of the step after one with so much: half of them at the most."""
    ratio = torch.empty(len(before_BF), 1, device=before_BF.device).uniform_(0.5, MAX_STEP_RATIO)
    is_most = torch.rand_like(ratio) < 0.5
    return before_BF * ratio.masked_fill(is_most, MAX_STEP_RATIO)


def student_loss(
    student: Student,
    batch: Batch,
    prompts: Prompts,
    vae: TinyVAE,
    pixel_weight: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """[loss, mean loss of step one, energy score, and what a draw's distance from another is over
    that from the truth: 1 = draws vary as the truth does]; the first has a gradient.

    Step one, step two twice on its prediction, step three twice on a quarter of what came of that;
    by weights of that dtype.
    """
    weights = {name: value.to(dtype) for name, value in student.named_parameters()}
    result: Tensor = functional_call(student, weights, (batch, prompts, vae, pixel_weight))
    return result


def train_dit(
    vae: TinyVAE,
    encoded: Encoded,
    stages: list[Stage],
    limit: Limit,
    seed: int,
    pixel_weight: float,
    start: Student | None = None,
) -> Student:
    """The averaged student at the limit, on the latents' device. Goes on from `start`, at half the
    rate."""
    device = encoded.latents_NVFCHW.device
    torch.manual_seed(seed)
    student = (Student() if start is None else start).to(device)
    peak_lr = PEAK_LR if start is None else PEAK_LR / 2
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    prompts = prompt_bank(student.text, PROMPTS_PER_STYLE, seed)
    store = Store(encoded, PROMPTS_PER_STYLE)
    optimizer, average = MuonAndAdam(student, peak_lr, outer=OUTER), Average(student, EMA)

    def learn(batch: int, cells: int) -> Tensor:
        result = student_loss(student, store.draw(batch, cells), prompts, vae, pixel_weight, dtype)
        optimizer.step(result[0])
        average.follow_()
        return result.detach()

    kinds = {kind for stage in stages for kind in stage.batches}
    learners = {kind: repeated(partial(learn, *kind), device) for kind in sorted(kinds)}

    def step_at(progress: float, number: int) -> Callable[[], Tensor]:
        stage = next(stage for stage in stages if progress < stage.until)
        return learners[stage.batches[number % len(stage.batches)]]

    train("dit", step_at, ("loss", "mean", "score", "spread"), optimizer, peak_lr, limit)
    average.write_()
    return student.eval().requires_grad_(False)
