"""Where the cache changes hands, the picture does not jump: statistics of frame differences.

What is compared is how much the styled picture changes at a chunk's beginning, over how much the
input changes there, so that a scene that speeds up does not count.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.world import Scene
from sdv2_host.gpu.tiny_engine import tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.types import Size
from sdv2_host.wan.tiny_weights import TinyModels, load_tiny

SIZE = Size(64, 64)
NUM_CHUNKS = 121
SETTLED = 12
"""Chunks after which the cache has long been full."""
PLACES = tuple(tuple(range(first, NUM_CHUNKS, 5)) for first in (16, 17, 18))
"""Where something is done to the cache: in three streams, so that no place in the scene decides."""
FIRST_ROLL = (5, 6, 7, 8)
"""The cache holds 1 + 4 latents, chunk 5 is the first to overwrite one of the window's 4."""
PARAMS = Params(prompt="neon outline")
SURPRISING = 2.5
"""Standard errors; of a chance alone 1 in 80."""
SMALL, STEP = np.log(1.25), np.log(2)
"""The picture changes a quarter as much again, or twice as much, as with the same frames and noise
undisturbed. New sinks make it 1.07 times, a damaged cache three times."""


@pytest.fixture(scope="module")
def models() -> TinyModels:
    return load_tiny()


@pytest.fixture(scope="module")
def source() -> Tensor:
    """[1, T, 3, H, W]: a scene that moves at one speed."""
    scene = Scene.random(9_100_003, num_layers=4, speed=60.0)
    return scene.render(1 + 4 * (NUM_CHUNKS - 1), SIZE.height, SIZE.width).rgb_T3HW[None] * 2 - 1


@torch.inference_mode()
def changes_at_chunks(
    models: TinyModels,
    source: Tensor,
    refreshed: tuple[int, ...] = (),
    damaged: tuple[int, ...] = (),
) -> NDArray[np.float64]:
    """[NUM_CHUNKS]: how much the styled picture changes at each chunk's first frame, over how much
    the source does; 0 for the first.

    `refreshed` chunks overwrite the sinks. Before `damaged` ones the cache is overwritten with
    noise, to see that the statistics notice.
    """
    pipeline = StreamPipeline(models.dit, models.vae, models.text, tiny_spec(models.card, SIZE))
    state = pipeline.fresh_state()
    generator = torch.Generator().manual_seed(0)
    last, ratios = None, []
    for index, chunk in enumerate(source.split([1] + [4] * (NUM_CHUNKS - 1), dim=1)):
        state.has_new_weights = index in refreshed
        for held in (*state.kv.k_RSHD, *state.kv.v_RSHD) if index in damaged else ():
            held.copy_(torch.randn(held.shape, generator=generator) * 4)
        styled = pipeline.step(state, chunk, PARAMS)
        pair = (styled, chunk)
        if last is not None:
            steps = [
                (new[:, 0] - old[:, -1]).square().mean().sqrt()
                for new, old in zip(pair, last, strict=True)
            ]
            ratios.append(float(steps[0] / steps[1]))
        last = pair
    return np.array([0.0, *ratios])


@pytest.fixture(scope="module")
def undisturbed(models: TinyModels, source: Tensor) -> NDArray[np.float64]:
    return changes_at_chunks(models, source)


def surprise(ratios: NDArray[np.float64], there: tuple[int, ...]) -> float:
    """How many standard errors the mean `there` is off that of the settled chunks elsewhere."""
    elsewhere = [i for i in range(SETTLED, NUM_CHUNKS) if i not in there]
    error = ratios[elsewhere].std() / np.sqrt(len(there))
    return float(abs(ratios[list(there)].mean() - ratios[elsewhere].mean()) / error)


def more_than_undisturbed(
    disturbed: list[NDArray[np.float64]], undisturbed: NDArray[np.float64]
) -> tuple[float, float]:
    """How much more the picture changes at the places of each stream, as a logarithm, and
    SURPRISING standard errors of that."""
    more = np.concatenate(
        [
            np.log(ratios[list(there)] / undisturbed[list(there)])
            for ratios, there in zip(disturbed, PLACES, strict=True)
        ]
    )
    return float(more.mean()), SURPRISING * float(more.std(ddof=1)) / np.sqrt(len(more))


def test_where_the_sinks_are_refreshed_the_picture_does_not_step(
    models: TinyModels, source: Tensor, undisturbed: NDArray[np.float64]
) -> None:
    refreshed = [changes_at_chunks(models, source, refreshed=there) for there in PLACES]

    more, error = more_than_undisturbed(refreshed, undisturbed)

    assert more + error < SMALL
    assert not np.array_equal(refreshed[0], undisturbed)


def test_where_the_window_first_rolls_the_picture_changes_as_elsewhere(
    undisturbed: NDArray[np.float64],
) -> None:
    assert surprise(undisturbed, FIRST_ROLL) < SURPRISING


def test_where_the_cache_is_overwritten_with_noise_the_picture_steps(
    models: TinyModels, source: Tensor, undisturbed: NDArray[np.float64]
) -> None:
    damaged = [changes_at_chunks(models, source, damaged=there) for there in PLACES]

    more, error = more_than_undisturbed(damaged, undisturbed)

    assert more - error > STEP
