from __future__ import annotations

import json
import math
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.motion import (
    MotionRule,
    MotionState,
    frame_differences,
    latents_of,
    noise_scale,
    observe_,
)

CPU = torch.device("cpu")
VECTORS = Path(
    os.environ.get("SDV2_VECTORS", Path(__file__).parents[3] / "shared" / "reference" / "vectors")
)
PARAMS = Params(noise_s_min=0.7, noise_s_max=0.8)
RULE = MotionRule(sigma=0.2, latent_sigma=1.5)
LATENT_DIM = 2


def fresh() -> MotionState:
    return MotionState.fresh(8, 8, LATENT_DIM, CPU)


def look_at(
    state: MotionState, frames: Tensor, params: Params = PARAMS, first: bool = False
) -> None:
    """Of the pixels alone: the latents stand still."""
    height, width = frames.shape[-2:]
    shape = (1, latents_of(frames.shape[1]), LATENT_DIM, height // 8, width // 8)
    observe_(state, frames, torch.zeros(shape), params, RULE, first)


def clip_of(chunk_lengths: list[int], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Chunks of (frames, latents) whose motion comes and goes."""
    generator = torch.Generator().manual_seed(seed)

    def drift(num_frames: int, *shape: int) -> Tensor:
        speed = torch.rand(num_frames, 1, 1, 1, generator=generator) ** 3 * 0.3
        return (torch.randn(num_frames, *shape, generator=generator) * speed).cumsum(0)[None]

    frames = drift(sum(chunk_lengths), 3, 8, 8)
    latent_lengths = [latents_of(length) for length in chunk_lengths]
    latents = drift(sum(latent_lengths), LATENT_DIM, 1, 1) * 8
    return list(zip(frames.split(chunk_lengths, 1), latents.split(latent_lengths, 1), strict=True))


def oracle(chunks: list[tuple[Tensor, Tensor]], params: Params) -> list[float]:
    """Every chunk's noise scale, number by number from the whole past."""
    is_latent = params.motion_metric == "latents"
    sigma = RULE.latent_sigma if is_latent else RULE.sigma
    window = math.ceil(params.motion_window / 4) if is_latent else params.motion_window
    past: list[Tensor] = []
    scales: list[float] = []
    for chunk in chunks:
        new = list(chunk[is_latent][0])
        past += new
        differences = [math.sqrt(float(((b - a) ** 2).mean())) for a, b in pairwise(past)]
        if len(past) == len(new):
            scales.append(params.noise_s_max)
            continue
        recent = max(differences[-max(window, len(new)) :])
        level = min(max(recent * params.motion_gain / sigma, 0.0), 1.0)
        aim = params.noise_s_max - (params.noise_s_max - params.noise_s_min) * level
        weight = params.motion_reaction
        scales.append(weight * aim + (1 - weight) * scales[-1])
    return scales


@pytest.mark.parametrize("metric", ["pixels", "latents"])
@pytest.mark.parametrize("window", [4, 8, 13, 64])
@pytest.mark.parametrize("lengths", [[1, *[4] * 24], [5, 4, 8, 12, 4, 4, 4], [1, 80, 4, 4]])
def test_every_chunk_gets_the_noise_of_the_paper_s_formula(
    metric: str, window: int, lengths: list[int]
) -> None:
    changes = {"motion_metric": metric, "motion_window": window, "motion_reaction": 0.6}
    params = PARAMS.model_copy(update=changes)
    chunks = clip_of(lengths, seed=window)
    state, seen = fresh(), []

    for index, (frames, latents) in enumerate(chunks):
        observe_(state, frames, latents, params, RULE, is_first=index == 0)
        seen.append(float(state.noise_scale))

    assert seen == pytest.approx(oracle(chunks, params), abs=1e-5)
    assert len({round(scale, 4) for scale in seen}) > 2


def test_a_metric_chosen_live_knows_the_past_already() -> None:
    chunks = clip_of([1, *[4] * 12], seed=3)
    wide = PARAMS.model_copy(update={"motion_window": 24, "motion_reaction": 1.0})
    in_latents = wide.model_copy(update={"motion_metric": "latents"})
    switched, latents_always = fresh(), fresh()

    for index, (frames, latents) in enumerate(chunks):
        chosen = in_latents if index == 12 else wide
        observe_(switched, frames, latents, chosen, RULE, is_first=index == 0)
        observe_(latents_always, frames, latents, in_latents, RULE, is_first=index == 0)

    assert torch.equal(switched.noise_scale, latents_always.noise_scale)


def test_a_fast_movement_counts_until_it_leaves_the_window() -> None:
    state, still = fresh(), torch.zeros(1, 4, 3, 8, 8)
    flash = still.clone()
    flash[:, 0] = 1.0
    params = PARAMS.model_copy(update={"motion_window": 12})
    levels = []

    for index, frames in enumerate([still, flash, still, still, still, still]):
        look_at(state, frames, params, first=index == 0)
        levels.append(float(state.level))

    assert levels == [0, 1, 1, 1, 0, 0]


def test_a_still_picture_gets_the_most_noise() -> None:
    state = fresh()
    frames = torch.full((1, 4, 3, 8, 8), 0.3)

    look_at(state, frames, first=True)
    look_at(state, frames)

    assert state.level == 0
    assert float(state.noise_scale) == pytest.approx(0.8)


def test_the_fastest_motion_ends_at_the_least_noise() -> None:
    state = fresh()
    frames = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(1, 4, 1, 1, 1).expand(1, 4, 3, 8, 8)

    look_at(state, frames, first=True)
    for _ in range(20):
        look_at(state, frames)

    assert state.level == 1
    assert float(state.noise_scale) == pytest.approx(0.7)


def test_a_full_reaction_follows_at_once() -> None:
    at_once = PARAMS.model_copy(update={"motion_reaction": 1.0})
    state, still, cut = fresh(), torch.zeros(1, 4, 3, 8, 8), torch.ones(1, 4, 3, 8, 8)

    look_at(state, still, at_once, first=True)
    look_at(state, cut, at_once)

    assert float(state.noise_scale) == pytest.approx(0.7)


def test_a_cut_between_chunks_counts_as_motion() -> None:
    state, still = fresh(), -torch.ones(1, 4, 3, 8, 8)
    look_at(state, still, first=True)

    look_at(state, -still)

    assert state.level == 1


def test_a_difference_is_the_root_mean_square_to_the_frame_before() -> None:
    frames = torch.zeros(1, 3, 3, 4, 4)
    frames[:, 1, :, :2] = 0.1
    frames[:, 2] = 0.1

    differences = frame_differences(frames, torch.full((1, 3, 4, 4), -0.02))

    expected = [0.02, math.sqrt(0.1**2 / 2), math.sqrt(0.1**2 / 2)]
    assert differences.tolist() == pytest.approx(expected)
    assert frame_differences(frames[:, :1], None).tolist() == []


def test_smoothing_mixes_in_a_tenth_of_the_past() -> None:
    scale = noise_scale(torch.tensor(1.0), torch.tensor(0.8), bounds=(0.7, 0.8), reaction=0.9)

    assert float(scale) == pytest.approx(0.9 * 0.7 + 0.1 * 0.8)


def test_a_second_session_knows_nothing_of_the_first() -> None:
    params = PARAMS.model_copy(update={"motion_window": 64})
    state, again = fresh(), []
    first_time = clip_of([1, 4, 4, 4], seed=1)
    for index, (frames, latents) in enumerate(clip_of([1, 4, 8, 4], seed=2)):
        observe_(state, frames * 9, latents * 9, params, RULE, is_first=index == 0)

    state.reset_()
    for index, (frames, latents) in enumerate(first_time):
        observe_(state, frames, latents, params, RULE, is_first=index == 0)
        again.append(float(state.noise_scale))

    assert again == pytest.approx(oracle(first_time, params), abs=1e-6)


def test_noise_scales_are_those_the_reference_recorded() -> None:
    if not (VECTORS / "batch2.json").is_file():
        pytest.skip("no recorded vectors: set SDV2_VECTORS to their folder")
    ticks = json.loads((VECTORS / "batch2.json").read_text())["ticks"]
    video_BTCHW = load_file(VECTORS / "inputs.safetensors")["video"].transpose(1, 2)
    height_px, width_px = video_BTCHW.shape[-2:]
    state = MotionState.fresh(height_px, width_px, LATENT_DIM, CPU)

    look_at(state, video_BTCHW[:, :5], first=True)
    seen = []
    for index in range(len(ticks) - 1):
        look_at(state, video_BTCHW[:, 5 + 4 * index : 9 + 4 * index])
        seen.append(float(state.noise_scale))

    assert seen == pytest.approx([tick["noise_scale"] for tick in ticks[1:]], abs=1e-6)
