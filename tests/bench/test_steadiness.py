"""Flicker and drift of pictures whose change over time is known."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from sdv2_host.bench.steadiness import CELLS, Drifts, Flicker, cells, drift, levels

FPS = 30.0


def _waves(num_frames: int, cycles_per_frame: float, amplitude: float) -> Tensor:
    """Grey frames whose brightness swings: [T, 3, 64, 64]."""
    time = torch.arange(num_frames, dtype=torch.float64)
    grey = 0.5 + amplitude * torch.sin(2 * math.pi * cycles_per_frame * time + 0.3)
    return grey[:, None, None, None].expand(-1, 3, 64, 64)


def _flicker(frames: Tensor) -> Flicker:
    flicker = Flicker()
    flicker.add(cells(frames))
    return flicker


def _naive_energy(values: list[float]) -> tuple[float, float]:
    """Fast and all energy by the sums of the definition, both signs of frequency."""
    count = len(values)
    middle = sum(values) / count
    window = [0.5 - 0.5 * math.cos(2 * math.pi * t / (count - 1)) for t in range(count)]
    seen = [(value - middle) * weight for value, weight in zip(values, window, strict=True)]
    norm = count * sum(weight**2 for weight in window)
    fast = everything = 0.0
    for k in range(1, count):
        turns = [value * cmath.exp(-2j * math.pi * k * t / count) for t, value in enumerate(seen)]
        energy = abs(sum(turns)) ** 2 / norm
        everything += energy
        fast += energy if min(k, count - k) / count >= 0.25 else 0.0
    return fast, everything


@pytest.mark.parametrize("num_frames", [8, 33, 40])
def test_flicker_is_the_sum_of_its_definition(num_frames: int) -> None:
    clip = torch.rand(num_frames, 1, 1, 1, generator=torch.Generator().manual_seed(num_frames))
    flicker = _flicker(clip.expand(-1, 3, CELLS, CELLS))

    fast, everything = _naive_energy(clip.flatten().tolist())

    assert flicker.share == pytest.approx(fast / everything, rel=1e-5)
    assert flicker.amplitude == pytest.approx(255 * math.sqrt(fast), rel=1e-5)


def test_a_fast_wave_is_flicker_of_its_own_strength() -> None:
    flicker = _flicker(_waves(120, 0.4, 0.02))

    assert flicker.share > 0.99
    assert flicker.amplitude == pytest.approx(255 * 0.02 / math.sqrt(2), rel=0.02)


def test_a_slow_wave_and_a_still_picture_are_no_flicker() -> None:
    assert _flicker(_waves(120, 0.05, 0.2)).share < 1e-3
    still = _flicker(torch.full((33, 3, 64, 64), 0.4))
    assert (still.share, still.amplitude) == (0.0, 0.0)


def test_fine_texture_that_moves_is_no_flicker() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    frames = torch.cat([stripes.roll(index, 3) for index in range(16)])

    assert _flicker(frames).amplitude == pytest.approx(0, abs=1e-4)


def test_flicker_pools_clips_by_their_cells() -> None:
    both, one = _flicker(_waves(120, 0.4, 0.02)), _flicker(_waves(120, 0.4, 0.0))
    both.merge(one)

    assert both.amplitude == pytest.approx(255 * 0.02 / 2, rel=0.02)


def test_a_clip_too_short_to_tell_is_left_out() -> None:
    assert _flicker(_waves(7, 0.4, 0.1)).num_cells == 0


def test_levels_of_known_pictures() -> None:
    half = torch.zeros(1, 3, 8, 8)
    half[..., :4] = 1.0
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1.0

    assert levels(half)[0].tolist() == pytest.approx([127.5, 127.5, 0.0])
    assert levels(red)[0].tolist() == pytest.approx([0.2126 * 255, 0.0, 255.0], abs=1e-3)


def test_drift_is_the_slope_per_minute() -> None:
    ramp = 5 + 3 * torch.arange(90, dtype=torch.float64) / (60 * FPS)

    found = drift(ramp, FPS)

    assert found.per_minute == pytest.approx(3)
    assert found.error == pytest.approx(0, abs=1e-9)


def test_the_error_of_drift_holds_for_noise_that_lasts() -> None:
    generator = torch.Generator().manual_seed(4)
    beyond = 0
    for _ in range(200):
        noise = torch.zeros(400, dtype=torch.float64)
        shocks = torch.randn(400, generator=generator, dtype=torch.float64)
        for index in range(1, 400):
            noise[index] = 0.8 * noise[index - 1] + shocks[index]
        found = drift(noise, FPS)
        assert found.error is not None
        beyond += abs(found.per_minute) > 2 * found.error

    # 5 % of 200 for the right error; 50 % for one that takes frames for strangers.
    assert beyond < 30


def test_few_frames_and_a_single_clip_leave_drift_open() -> None:
    drifts = Drifts()
    drifts.add(torch.zeros(10, 3), FPS)

    assert drift(torch.zeros(3), FPS).error is None
    assert drifts.summary()["contrast"].error is None


def test_drift_of_clips_is_their_mean_with_its_error() -> None:
    drifts, more = Drifts(), Drifts()
    ramp = torch.arange(60, dtype=torch.float64)[:, None] / (60 * FPS)
    drifts.add(ramp * torch.tensor((1.0, 0.0, 2.0)), FPS)
    more.add(ramp * torch.tensor((3.0, 0.0, 2.0)), FPS)
    drifts.merge(more)

    summary = drifts.summary()

    assert summary["brightness"] == pytest.approx((2.0, 1.0))
    assert summary["saturation"] == pytest.approx((2.0, 0.0), abs=1e-9)
