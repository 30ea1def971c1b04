from __future__ import annotations

import itertools

import pytest
import torch

from sdv2_host.stream.noise import HELD_CHUNK, chunk_noise, mixed_noise, noise_key

SHAPE = (1, 1, 16, 8, 8)
CPU = torch.device("cpu")


def test_noise_does_not_depend_on_the_order_of_calls() -> None:
    keys = [noise_key(3, chunk, step) for chunk in range(4) for step in range(4)]

    forwards = {key: chunk_noise(key, SHAPE, CPU, torch.float32) for key in keys}
    torch.randn(1000)
    backwards = {key: chunk_noise(key, SHAPE, CPU, torch.float32) for key in reversed(keys)}

    assert all(torch.equal(forwards[key], backwards[key]) for key in keys)


def test_asking_for_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(4)
    torch.manual_seed(0)

    chunk_noise(1, SHAPE, CPU, torch.float32)

    assert torch.equal(torch.randn(4), expected)


def test_each_seed_chunk_and_step_has_its_own_key() -> None:
    keys = {noise_key(*words) for words in itertools.product(range(20), range(100), range(4))}

    assert len(keys) == 20 * 100 * 4


def test_float64_sees_the_numbers_float32_sees() -> None:
    single = chunk_noise(5, SHAPE, CPU, torch.float32)
    double = chunk_noise(5, SHAPE, CPU, torch.float64)

    assert torch.equal(single.double(), double)


def test_noise_is_standard_normal() -> None:
    noise = chunk_noise(noise_key(0, 0, 0), (200_000,), CPU, torch.float32)

    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01


def chunk_of(index: int, hold: float) -> torch.Tensor:
    """Noise of three latent frames of a chunk, [1, 3, 16, 64, 64]."""
    shape = (1, 3, 16, 64, 64)
    new = chunk_noise(noise_key(4, index, 0), shape, CPU, torch.float32)
    held = chunk_noise(noise_key(4, HELD_CHUNK, 0), (1, 16, 64, 64), CPU, torch.float32)
    return mixed_noise(new, held, hold)


@pytest.mark.parametrize("hold", [0.0, 0.3, 0.8, 1.0])
def test_mixed_noise_is_standard_normal_and_correlates_by_what_is_held(hold: float) -> None:
    first, second = chunk_of(7, hold), chunk_of(8, hold)

    assert abs(first.std() - 1) < 0.02
    assert float((first * second).mean()) == pytest.approx(hold, abs=0.02)
    assert float((first[:, 0] * first[:, 2]).mean()) == pytest.approx(hold, abs=0.02)


def test_held_noise_is_no_chunks_own() -> None:
    keys = {noise_key(4, index, 0) for index in range(-4, 1000)}

    assert noise_key(4, HELD_CHUNK, 0) not in keys
