from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sdv2_host.stream.motion import (
    MotionRule,
    MotionState,
    motion_level,
    noise_scale,
    observe_,
)

CPU = torch.device("cpu")
VECTORS = Path(
    os.environ.get("SDV2_VECTORS", Path(__file__).parents[3] / "shared" / "reference" / "vectors")
)
BOUNDS = (0.7, 0.8)


def test_a_still_picture_gets_the_most_noise() -> None:
    state = MotionState.fresh(8, 8, CPU)
    frames = torch.full((1, 4, 3, 8, 8), 0.3)

    observe_(state, frames, BOUNDS, MotionRule(), is_first=True)
    observe_(state, frames, BOUNDS, MotionRule(), is_first=False)

    assert state.level == 0
    assert float(state.noise_scale) == pytest.approx(0.8)


def test_the_fastest_motion_ends_at_the_least_noise() -> None:
    state = MotionState.fresh(8, 8, CPU)
    frames = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(1, 4, 1, 1, 1).expand(1, 4, 3, 8, 8)

    observe_(state, frames, BOUNDS, MotionRule(), is_first=True)
    for _ in range(20):
        observe_(state, frames, BOUNDS, MotionRule(), is_first=False)

    assert state.level == 1
    assert float(state.noise_scale) == pytest.approx(0.7)


def test_motion_is_the_largest_rms_difference_over_sigma() -> None:
    frames = torch.zeros(1, 3, 3, 4, 4)
    frames[:, 1] = 0.05
    frames[:, 2] = 0.15

    level = motion_level(frames, previous_BCHW=torch.full((1, 3, 4, 4), -0.02), sigma=0.2)

    assert float(level) == pytest.approx(0.5)


def test_a_cut_between_chunks_counts_as_motion() -> None:
    frames = torch.ones(1, 4, 3, 4, 4)

    assert motion_level(frames, -torch.ones(1, 3, 4, 4), sigma=0.2) == 1
    assert motion_level(frames, None, sigma=0.2) == 0


def test_one_frame_alone_does_not_move() -> None:
    assert motion_level(torch.ones(1, 1, 3, 4, 4), None, sigma=0.2) == 0


def test_smoothing_mixes_in_a_tenth_of_the_past() -> None:
    scale = noise_scale(torch.tensor(1.0), 0.8, s_min=0.7, s_max=0.8, smoothing=0.9)

    assert float(scale) == pytest.approx(0.9 * 0.7 + 0.1 * 0.8)


def test_noise_scales_are_those_the_reference_recorded() -> None:
    if not (VECTORS / "batch2.json").is_file():
        pytest.skip("no recorded vectors: set SDV2_VECTORS to their folder")
    ticks = json.loads((VECTORS / "batch2.json").read_text())["ticks"]
    video_BTCHW = load_file(VECTORS / "inputs.safetensors")["video"].transpose(1, 2)
    state = MotionState.fresh(*video_BTCHW.shape[-2:], CPU)

    observe_(state, video_BTCHW[:, :5], BOUNDS, MotionRule(), is_first=True)
    seen = []
    for index in range(len(ticks) - 1):
        frames = video_BTCHW[:, 5 + 4 * index : 9 + 4 * index]
        observe_(state, frames, BOUNDS, MotionRule(), is_first=False)
        seen.append(float(state.noise_scale))

    assert seen == pytest.approx([tick["noise_scale"] for tick in ticks[1:]], abs=1e-6)
