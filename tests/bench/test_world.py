"""The world's laws: the flow is exact, a crop is a crop, a seed is a scene."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdv2_host.bench.world import Clip, Scene, warp, warp_error

SEEDS = (0, 5, 11, 9_000_003)


def _plain(seed: int, frames: int = 4, size: int = 128) -> Clip:
    return Scene.random(seed, speed=120.0).render(frames, size, size, start=0.7, plain=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_warping_along_the_flow_reproduces_the_next_frame(seed: int) -> None:
    clip = _plain(seed, size=256)

    error = warp_error(clip.rgb_T3HW, clip.flow_T2HW, clip.visible_T1HW)
    unmoved = warp_error(clip.rgb_T3HW, torch.zeros_like(clip.flow_T2HW), clip.visible_T1HW)

    assert error < 1.5
    assert error < 0.5 * unmoved


@pytest.mark.parametrize("seed", SEEDS)
def test_the_flow_leads_to_the_same_material_point(seed: int) -> None:
    clip = _plain(seed)
    mask = clip.visible_T1HW[2, 0]

    moved = warp(clip.layer_id_THW[1][None].float(), clip.flow_T2HW[2])[0]

    assert torch.allclose(moved[mask], clip.layer_id_THW[2].float()[mask], atol=1e-3)


def test_most_pixels_are_visible_and_covered_ones_are_not() -> None:
    clip = _plain(0)

    assert 0.5 < float(clip.visible_T1HW[1:].float().mean()) < 1.0


def test_the_first_frame_has_no_flow_and_sees_nothing() -> None:
    clip = _plain(3)

    assert not clip.flow_T2HW[0].any()
    assert not clip.visible_T1HW[0].any()


@pytest.mark.parametrize("crop", [(64, 32, 96, 128), (0, 0, 96, 96), (160, 160, 96, 96)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_crop_equals_the_crop_of_the_whole(seed: int, crop: tuple[int, int, int, int]) -> None:
    y, x, height, width = crop
    scene = Scene.random(seed)

    part = scene.render(2, 256, 256, start=0.3, crop=crop)
    whole = scene.render(2, 256, 256, start=0.3)

    rows, columns = slice(y, y + height), slice(x, x + width)
    assert torch.allclose(part.rgb_T3HW, whole.rgb_T3HW[..., rows, columns], atol=2e-4)
    assert torch.allclose(part.flow_T2HW, whole.flow_T2HW[..., rows, columns], atol=1e-3)
    # Rounding decides on the last bit where a point falls on a pixel's very centre.
    assert (part.visible_T1HW & ~whole.visible_T1HW[..., rows, columns]).float().mean() < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_later_start_continues_the_same_clip(seed: int) -> None:
    scene = Scene.random(seed)

    whole = scene.render(6, 64, 64, start=0.0)
    tail = scene.render(3, 64, 64, start=3 / 30)

    assert torch.allclose(whole.rgb_T3HW[3:], tail.rgb_T3HW, atol=1e-4)
    assert torch.allclose(whole.flow_T2HW[4:], tail.flow_T2HW[1:], atol=1e-3)


def test_the_same_seed_gives_the_same_clip_whatever_the_global_generator_does() -> None:
    torch.manual_seed(1)
    first = Scene.random(42).render(2, 64, 64)
    torch.manual_seed(2)
    np.random.seed(3)
    second = Scene.random(42).render(2, 64, 64)

    assert torch.equal(first.rgb_T3HW, second.rgb_T3HW)
    assert torch.equal(first.flow_T2HW, second.flow_T2HW)


def test_different_seeds_give_different_scenes() -> None:
    pictures = [Scene.random(seed).render(1, 32, 32).rgb_T3HW for seed in range(4)]

    assert len({picture.numpy().tobytes() for picture in pictures}) == 4


def test_a_still_scene_has_no_warp_error() -> None:
    frame = Scene.random(1).render(1, 64, 64).rgb_T3HW
    clip = frame.expand(4, -1, -1, -1)
    visible = torch.ones(4, 1, 64, 64, dtype=torch.bool)

    assert warp_error(clip, torch.zeros(4, 2, 64, 64), visible) < 1e-3


def test_warp_moves_a_picture_by_whole_pixels() -> None:
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(2, 16, 16)
    flow[0] = 3.0

    assert torch.allclose(warp(picture, flow)[..., :13], picture[..., 3:], atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_stay_in_range_at_any_size(seed: int) -> None:
    clip = Scene.random(seed).render(2, 90, 160)

    assert clip.rgb_T3HW.shape == (2, 3, 90, 160)
    assert float(clip.rgb_T3HW.min()) >= 0.0
    assert float(clip.rgb_T3HW.max()) <= 1.0
    assert torch.isfinite(clip.flow_T2HW).all()


def test_speed_makes_things_move_faster() -> None:
    slow, fast = (
        sum(float(Scene.random(s, speed=v).render(2, 32, 32).flow_T2HW.abs().sum()) for s in (0, 1))
        for v in (10.0, 250.0)
    )

    assert fast > 4 * slow
