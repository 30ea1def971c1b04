"""Training: the optimiser against its naive form, data as in the stream, losses that fall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sdv2_host.bench.styles import STYLES
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.positions import PositionMode, key_positions
from sdv2_host.wan.attention import WholeAttend, block_causal_mask
from sdv2_host.wan.dims import TINY_TEXT, TINY_VAE
from sdv2_host.wan.rope import Rotary, rotary_table
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TINY_PATH
from training import jumps
from training.data import (
    CLIP_FRAMES,
    CLIP_LATENTS,
    ClipSpec,
    Encoded,
    Renderer,
    encode_clips,
    encode_variants,
    in_style,
    render_clip,
    styled_copy,
    to_rgb,
)
from training.optim import (
    NEWTON_SCHULZ,
    Average,
    Limit,
    MuonAndAdam,
    cosine_lr,
    orthogonalised,
    train,
)
from training.polish import draw, make_pairs
from training.prompts import PLAIN_PROMPTS, cut, embed, prompt_bank
from training.scores import energy_score
from training.train import models_of
from training.train_dit import (
    CausalAttend,
    Store,
    Student,
    later_sigmas,
    opening_sigmas,
    student_loss,
)
from training.train_vae import CROP_PX, GRID_PX, Crops, calm, normalise_latents, vae_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae() -> TinyVAE:
    torch.manual_seed(0)
    vae = TinyVAE(TINY_VAE)
    calm(vae)
    return vae


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalising_on_the_gram_equals_the_plain_iteration(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    updates = torch.randn(3, *shape)
    a, b, c = NEWTON_SCHULZ
    plain = []
    for update in updates:
        x = update / update.norm()
        for _ in range(5):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        plain.append(x)

    assert torch.allclose(orthogonalised(updates), torch.stack(plain), atol=1e-4)


def test_the_learning_rate_rises_then_falls_to_a_fraction() -> None:
    rates = [cosine_lr(step / 1000, 1.0) for step in range(1001)]

    assert rates.index(max(rates)) == 30
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_training_ends_at_its_limit_and_when_a_number_is_not_finite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    optimizer = MuonAndAdam(torch.nn.Linear(2, 2), 1.0, outer=())
    seen: list[tuple[float, int, float]] = []

    def step_at(progress: float, number: int) -> Callable[[], torch.Tensor]:
        seen.append((progress, number, optimizer.lr.item()))
        return lambda: torch.tensor([0.5])

    train("toy", step_at, ("loss",), optimizer, 2.0, Limit(minutes=10, steps=200))

    assert [number for _, number, _ in seen] == list(range(200))
    assert [progress for progress, _, _ in seen] == [number / 200 for number in range(200)]
    assert max(lr for _, _, lr in seen) == pytest.approx(2.0)
    assert capsys.readouterr().out.splitlines()[0].startswith("toy 100 (50%) loss 0.5000 ")
    with pytest.raises(FloatingPointError, match="toy step 100: loss nan"):
        train(
            "toy", lambda *_: lambda: torch.tensor([torch.nan]), ("loss",), optimizer, 1, Limit(10)
        )


def test_the_average_follows_and_is_written_back() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    average = Average(layer, keep=0.75)
    layer.weight.data.fill_(5.0)

    average.follow_()
    average.write_()

    assert layer.weight.item() == 2.0


def test_a_clip_is_the_same_for_the_same_seed() -> None:
    spec = ClipSpec(seed=3, side_px=64)

    first = render_clip(spec)

    assert first.shape == (CLIP_FRAMES, 64, 64, 3)
    assert np.array_equal(first, render_clip(spec))


def test_clips_of_other_processes_come_in_order() -> None:
    clips = Renderer(3, 32, first_seed=5, workers=2).wait(3)

    assert np.array_equal(clips[2].numpy(), render_clip(ClipSpec(7, 32)))


def test_window_latents_are_what_a_running_stream_would_see(vae: TinyVAE) -> None:
    frames = torch.rand(1, CLIP_FRAMES, 3, 32, 32)
    with torch.inference_mode():
        latents = encode_clips(vae, frames)
        cache = vae.init_cache(1, 32, 32)
        stream = frames[:, 1:] * 2 - 1
        _, cache = vae.encode(stream[:, :1], cache, is_first=True)
        second = vae.encode(stream[:, 1:5], cache, is_first=False).z_BFCHW

    assert latents.shape == (1, CLIP_LATENTS, 16, 4, 4)
    assert torch.allclose(latents[:, 1], second[:, 0], atol=1e-5)


def test_every_variant_of_a_clip_is_encoded_in_its_place(vae: TinyVAE) -> None:
    clips = torch.from_numpy(np.stack([render_clip(ClipSpec(seed, 64)) for seed in (4, 5, 6)]))

    encoded = encode_variants(vae, clips, styles_per_clip=2, seed=0, device=CPU)

    assert encoded.latents_NVFCHW.shape[:3] == (3, 3, CLIP_LATENTS)
    assert encoded.styles_NV[:, 0].tolist() == [len(STYLES)] * 3
    for clip, variant in ((0, 0), (2, 1), (1, 2)):
        style = int(encoded.styles_NV[clip, variant])
        rgb = in_style(clips[clip : clip + 1], None if style == len(STYLES) else style)
        with torch.inference_mode():
            alone = encode_clips(vae, rgb)[0]
        assert torch.allclose(encoded.latents_NVFCHW[clip, variant].float(), alone, atol=2e-2)


def test_autoencoder_batches_are_cut_on_the_grid_that_styles_use() -> None:
    side = 2 * CROP_PX
    clips = torch.zeros(1, CLIP_FRAMES, side, side, 3, dtype=torch.uint8)
    clips[:, :, ::GRID_PX, ::GRID_PX] = 255
    crops = Crops(clips, seed=0)
    crops._pool = clips

    batch = crops.draw(16)

    lit = batch.amax(dim=(1, 2))
    assert all(row[::8, ::8].min() == 1 or row[::8, 7::8].min() == 1 for row in lit)
    assert {row[0, 0].item() for row in lit} == {0.0, 1.0}, "none is mirrored, or all are"


def test_prompts_as_tensors_embed_as_the_encoder_does() -> None:
    torch.manual_seed(0)
    text = TinyTextEncoder(TINY_TEXT)
    prompts = ["neon lights at night", "", "a Watercolor painting, of the sea"]

    assert torch.allclose(embed(text, cut(text, prompts)), text(prompts), atol=1e-5)


def test_the_store_pairs_each_target_with_its_prompt() -> None:
    style, per_style = 9, len(PLAIN_PROMPTS)
    latents = torch.zeros(1, 2, CLIP_LATENTS, 16, 8, 8).half()
    latents[:, 1] = 1
    encoded = Encoded(latents, torch.tensor([[len(STYLES), style]]))

    batch = Store(encoded, per_style).draw(256, 4)

    is_styled = batch.target_BFCHW.mean(dim=(2, 3, 4)) == 1
    prompt_BF = batch.prompt_B2.gather(1, batch.is_after_BF)
    assert batch.source_BFCHW.abs().max() == 0
    assert torch.equal(is_styled, prompt_BF // per_style == style)
    assert torch.equal(~is_styled, prompt_BF // per_style == len(STYLES))
    assert 0 < batch.is_after_BF[:, -1].sum() < 256
    assert batch.is_after_BF[:, 0].sum() == 0


def test_the_last_prompts_of_the_bank_are_of_no_style() -> None:
    torch.manual_seed(0)
    text = TinyTextEncoder(TINY_TEXT)
    bank = prompt_bank(text, len(PLAIN_PROMPTS), seed=0)

    plain = embed(text, bank)[-len(PLAIN_PROMPTS) :]

    assert torch.allclose(plain, text(list(PLAIN_PROMPTS)), atol=1e-5)


def test_attention_frame_by_frame_is_attention_under_the_mask() -> None:
    torch.manual_seed(0)
    table = rotary_table(64, torch.arange(3), 2, 2)
    rotary = Rotary(table.cos_SP.float(), table.sin_SP.float())
    q, k, v = (torch.randn(2, 12, 3, 64) for _ in range(3))

    whole = WholeAttend(rotary, block_causal_mask(3, 4))(0, q, k, v)

    assert torch.allclose(CausalAttend(rotary, 3)(0, q, k, v), whole, atol=1e-5)


def test_noise_of_a_later_step_is_at_most_what_the_stream_gives_it() -> None:
    torch.manual_seed(0)
    first = opening_sigmas(500, CPU)

    ratio = later_sigmas(first) / first

    assert first.min() >= 0.1
    assert first.max() <= 0.95
    assert ratio.min() >= 0.5 - 1e-6
    assert ratio.max() == pytest.approx(0.85)


def test_draws_from_the_true_distribution_score_best() -> None:
    """Of normal truths: their mean, too narrow, just right, too wide, and off the mark."""
    torch.manual_seed(0)
    truth = torch.randn(64, 3, 4, 8, 8)
    drawn = torch.randn(2, 64, 3, 4, 8, 8)
    kinds = {"mean": 0 * drawn, "narrow": 0.6 * drawn, "wide": 1.5 * drawn, "off": drawn + 0.5}

    score, spread = energy_score(drawn, truth, (1, 3))

    assert spread == pytest.approx(1, abs=0.02)
    assert all(energy_score(kind, truth, (1, 3))[0] > score + 0.003 for kind in kinds.values())


def test_the_decoder_is_polished_on_draws_and_what_they_stand_for(vae: TinyVAE) -> None:
    clips = torch.from_numpy(np.stack([render_clip(ClipSpec(seed, 128)) for seed in (4, 5)]))
    encoded = encode_variants(vae, clips, styles_per_clip=1, seed=0, device=CPU)
    torch.manual_seed(0)
    pairs = make_pairs(Student(), clips, encoded, seed=0)

    z, rgb = draw(pairs, 8)

    assert torch.equal(pairs.latents_NDFCHW[:, 0], encoded.latents_NVFCHW[:, 1])
    assert z.shape[:2] == (8, 3)
    assert torch.equal(pairs.frames_NTHW3, styled_copy(clips, encoded.styles_NV[:, 1]))
    frames = to_rgb(pairs.frames_NTHW3)
    windows = [
        frames[clip, 6 + shift : 14 + shift, :, y : y + 96, x : x + 96]
        for clip in range(2)
        for shift in (0, 4)
        for y in (0, 16, 32)
        for x in (0, 16, 32)
    ]
    assert all(any(torch.equal(row, window) for window in windows) for row in rgb)


def test_a_few_steps_lower_both_losses(vae: TinyVAE) -> None:
    torch.manual_seed(0)
    rgb = torch.rand(2, 5, 3, 8, 8).repeat_interleave(4, -1).repeat_interleave(4, -2)
    model = TinyVAE(TINY_VAE)
    calm(model)
    normalise_latents(model, rgb)
    optimizer = MuonAndAdam(model, 2e-3, outer=())
    losses = []
    for _ in range(12):
        loss, _ = vae_loss(model, rgb)
        optimizer.step(loss)
        losses.append(loss.item())

    student = Student()
    latents = torch.randn(2, 3, CLIP_LATENTS, 16, 8, 8)
    latents[:, 1:] = 4
    store = Store(Encoded(latents.half(), torch.tensor([[16, 2, 9], [16, 4, 7]])), 3)
    prompts = prompt_bank(student.text, 3, seed=0)
    learner = MuonAndAdam(student, 4e-3, outer=("dit.head", "text.grams"))
    student_losses = []
    frozen = vae.requires_grad_(False)
    for _ in range(12):
        result = student_loss(student, store.draw(4, 8), prompts, frozen, pixel_weight=0.1)
        learner.step(result[0])
        student_losses.append(result[0].item())

    assert losses[-1] < 0.95 * losses[0]
    assert student_losses[-1] < 0.9 * student_losses[0]


def test_positions_of_jumps_are_those_of_a_stream_with_resets() -> None:
    torch.manual_seed(0)
    geometry = CacheGeometry(1, CLIP_LATENTS - 1)
    held = [sorted(geometry.frames_held(written)) for written in range(CLIP_LATENTS, 200)]
    streamed = {key_positions(frames, PositionMode.RESET) for frames in held}

    drawn = {tuple(row) for row in jumps.drawn_positions(4000, CPU).tolist()}

    assert drawn == streamed


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    torch.manual_seed(0)
    return Encoded(
        4 * torch.randn(2, 3, CLIP_LATENTS, 16, 16, 16).half(), torch.arange(6).view(2, 3)
    )


def test_where_frames_stand_as_in_training_a_model_is_its_own_teacher(encoded: Encoded) -> None:
    student, _ = models_of(TINY_PATH, CPU)
    batch, prompts = Store(encoded, 1).draw(4, 16), prompt_bank(student.text, 1, 0)

    *moved, kept = jumps.jump_loss(student, student, batch, prompts)[1:].tolist()

    assert min(moved) > 0.02
    assert kept < 1e-4


@pytest.mark.parametrize("batch", [2, 3, 6, 64])
def test_of_a_batch_some_stand_as_in_training_and_some_do_not(batch: int) -> None:
    assert 0 < jumps.kept_of(batch) < batch


def test_an_error_weighs_by_what_changes_in_its_clip() -> None:
    torch.manual_seed(0)
    still = torch.randn(1, 1, 16, 4, 4).expand(1, CLIP_LATENTS, 16, 4, 4)
    moving = still + 3 * torch.arange(CLIP_LATENTS).view(-1, 1, 1, 1)
    astray = torch.full((), 0.6)

    errors = [jumps.relative_error(clip + astray, clip).item() for clip in (still, moving)]
    both = jumps.relative_error(torch.cat([still, moving]) + astray, torch.cat([still, moving]))

    assert errors == pytest.approx([0.6 / jumps.STILL, 0.6 / (3 + jumps.STILL)], rel=1e-3)
    assert both.item() == pytest.approx(sum(errors) / 2)


def test_of_jumps_only_self_attention_learns(encoded: Encoded) -> None:
    student, _ = models_of(TINY_PATH, CPU)
    before = {name: value.clone() for name, value in student.named_parameters()}

    after = dict(
        jumps.learn_jumps(student, encoded, 2, Limit(10, steps=2), seed=0).named_parameters()
    )

    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {name for name in before if "self_attn" in name}
    assert not any(value.requires_grad for value in after.values())
