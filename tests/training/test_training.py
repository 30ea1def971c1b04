"""Training: the optimiser against its naive form, data as in the stream, losses that fall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sdv2_host.bench.styles import STYLES
from sdv2_host.wan.dims import TINY_VAE
from sdv2_host.wan.tiny_vae import TinyVAE
from training.data import (
    CLIP_FRAMES,
    CLIP_LATENTS,
    ClipSpec,
    EncodeJob,
    encode_clip,
    encode_variants,
    pixel_batches,
    render_clip,
    to_rgb,
)
from training.optim import NEWTON_SCHULZ, MuonAndAdam, orthogonalised
from training.train_dit import Batch, Store, Student, student_loss
from training.train_vae import calm, cosine_lr, normalise_latents, vae_loss


@pytest.fixture(scope="module")
def vae() -> TinyVAE:
    torch.manual_seed(0)
    vae = TinyVAE(TINY_VAE)
    calm(vae)
    return vae


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalising_on_the_gram_equals_the_plain_iteration(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    update = torch.randn(shape)
    plain = update / update.norm()
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = plain @ plain.mT
        plain = a * plain + (b * gram + c * gram @ gram) @ plain

    assert torch.allclose(orthogonalised(update), plain, atol=1e-4)


def test_the_learning_rate_rises_then_falls_to_a_fraction() -> None:
    rates = [cosine_lr(step, 1000, 1.0) for step in range(1000)]

    assert rates.index(max(rates)) == 99
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_a_clip_is_the_same_for_the_same_seed() -> None:
    spec = ClipSpec(seed=3, side_px=64)

    first = render_clip(spec)

    assert first.shape == (CLIP_FRAMES, 64, 64, 3)
    assert np.array_equal(first, render_clip(spec))


def test_window_latents_are_what_a_running_stream_would_see(vae: TinyVAE) -> None:
    frames = torch.rand(CLIP_FRAMES, 3, 32, 32)
    with torch.inference_mode():
        latents = encode_clip(vae, frames)
        cache = vae.init_cache(1, 32, 32)
        stream = frames[None, 1:] * 2 - 1
        _, cache = vae.encode(stream[:, :1], cache, is_first=True)
        second = vae.encode(stream[:, 1:5], cache, is_first=False).z_BFCHW

    assert latents.shape == (CLIP_LATENTS, 16, 4, 4)
    assert torch.allclose(latents[1], second[0, 0], atol=1e-5)


def test_every_variant_of_a_clip_is_encoded_in_order(vae: TinyVAE) -> None:
    clip = render_clip(ClipSpec(seed=4, side_px=64))

    variants = encode_variants(vae, EncodeJob(clip, [5, 2]))

    with torch.inference_mode():
        styled = encode_clip(vae, list(STYLES.values())[2].fn(to_rgb(clip)))
    assert variants.shape[:2] == (3, CLIP_LATENTS)
    assert torch.equal(variants[2], styled.half())


def test_autoencoder_batches_are_cut_on_the_grid_that_styles_use() -> None:
    pool = np.zeros((1, CLIP_FRAMES, 64, 64, 3), dtype=np.uint8)
    pool[:, :, ::8, ::8] = 255

    batch = next(pixel_batches([pool], batch=4, frames=3, crop_px=32, seed=0))

    lit = batch.amax(dim=(1, 2))
    assert batch.shape == (4, 3, 3, 32, 32)
    assert all(row[::8, ::8].min() == 1 or row[::8, 7::8].min() == 1 for row in lit)


def test_the_store_pairs_each_target_with_its_prompt(tmp_path: Path) -> None:
    style = 9
    latents = torch.zeros(1, 2, CLIP_LATENTS, 16, 8, 8).half()
    latents[:, 1] = 1
    torch.save({"latents": latents, "styles": torch.tensor([[style]])}, tmp_path / "l.pt")

    batch = Store(tmp_path / "l.pt", seed=0).draw(64, 4)

    styled = batch.target_BFCHW.mean(dim=(2, 3, 4)) == 1
    prompts = [[batch.prompts[i] for i in row] for row in batch.prompt_of_BF.tolist()]
    plain = {"", "photo", "no style", "natural camera picture", "unchanged", "realistic video"}
    assert batch.source_BFCHW.abs().max() == 0
    assert {
        (bool(styled[row, frame]), prompts[row][frame] in plain)
        for row in range(64)
        for frame in range(CLIP_LATENTS)
    } == {(True, False), (False, True)}


def test_a_few_steps_lower_both_losses(vae: TinyVAE) -> None:
    torch.manual_seed(0)
    rgb = torch.rand(2, 5, 3, 8, 8).repeat_interleave(4, -1).repeat_interleave(4, -2)
    model = TinyVAE(TINY_VAE)
    calm(model)
    normalise_latents(model, rgb)
    optimizer = MuonAndAdam(model, 1e-3, outer=())
    losses = []
    for _ in range(12):
        loss, _ = vae_loss(model, rgb)
        optimizer.step(loss, 2e-3)
        losses.append(loss.item())

    student = Student()
    batch = Batch(
        torch.randn(2, CLIP_LATENTS, 16, 4, 4),
        torch.ones(2, CLIP_LATENTS, 16, 4, 4) * 4,
        ["neon", "neon", "gold", "gold"],
        torch.tensor([[0] * 5, [2] * 5]),
    )
    learner = MuonAndAdam(student, 1e-3, outer=("dit.head", "text.grams"))
    student_losses = []
    for _ in range(12):
        loss = student_loss(student, batch, vae, pixel_weight=0.1)
        learner.step(loss, 4e-3)
        student_losses.append(loss.item())

    assert losses[-1] < 0.95 * losses[0]
    assert student_losses[-1] < 0.9 * student_losses[0]
