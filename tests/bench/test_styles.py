"""Each style is a steady, distinct function of one frame's pixels."""

from __future__ import annotations

import pytest
import torch

from sdv2_host.bench.classifier import CLASSES, Classifier
from sdv2_host.bench.prompts import UNSTYLED
from sdv2_host.bench.styles import PERIOD_PX, REACH_PX, STYLES
from sdv2_host.bench.world import Scene, warp_error


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """One 128x128 frame of each of six held-out scenes."""
    clips = [
        Scene.random(9_100_000 + i).render(1, 256, 256, crop=(64, 64, 128, 128)) for i in range(6)
    ]
    return torch.cat([clip.rgb_T3HW for clip in clips])


def test_there_are_at_least_twelve_styles_each_with_its_own_prompt() -> None:
    assert len(STYLES) >= 12
    assert len({style.prompt for style in STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("name", STYLES)
def test_a_style_keeps_shape_and_range(name: str, frames: torch.Tensor) -> None:
    styled = STYLES[name].fn(frames)

    assert styled.shape == frames.shape
    assert styled.dtype == torch.float32
    assert float(styled.min()) >= 0.0
    assert float(styled.max()) <= 1.0


@pytest.mark.parametrize("name", STYLES)
def test_a_style_sees_each_frame_alone_and_does_not_change_it(
    name: str, frames: torch.Tensor
) -> None:
    before = frames.clone()

    together = STYLES[name].fn(frames)
    alone = torch.cat([STYLES[name].fn(frame[None]) for frame in frames])

    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(frames, before)


@pytest.mark.parametrize("name", STYLES)
def test_a_style_of_a_crop_is_the_crop_of_the_style(name: str, frames: torch.Tensor) -> None:
    margin, begin = REACH_PX, 2 * PERIOD_PX
    part = frames[..., begin : begin + 64, begin : begin + 64]

    styled_part = STYLES[name].fn(part)[..., margin:-margin, margin:-margin]
    inside = slice(begin + margin, begin + 64 - margin)

    assert torch.allclose(styled_part, STYLES[name].fn(frames)[..., inside, inside], atol=1e-4)


@pytest.mark.parametrize("name", STYLES)
def test_odd_sizes_work(name: str, frames: torch.Tensor) -> None:
    assert STYLES[name].fn(frames[:1, :, :50, :67]).shape == (1, 3, 50, 67)


def test_styles_of_a_still_clip_are_still(frames: torch.Tensor) -> None:
    still = frames[:1].expand(3, -1, -1, -1)
    flow = torch.zeros(3, 2, 128, 128)
    visible = torch.ones(3, 1, 128, 128, dtype=torch.bool)

    errors = [warp_error(style.fn(still), flow, visible) for style in STYLES.values()]

    assert max(errors) < 1e-3


def test_every_two_styles_differ_clearly(frames: torch.Tensor) -> None:
    styled = torch.stack([style.fn(frames) for style in STYLES.values()] + [frames])
    distance = (styled[:, None] - styled[None]).abs().mean((2, 3, 4, 5))
    distance.fill_diagonal_(1.0)

    assert float(distance.min()) > 0.03


def test_the_classifier_tells_the_styles_apart(frames: torch.Tensor) -> None:
    classifier = Classifier()

    right = [
        name == said
        for name in CLASSES
        for said in classifier.name(frames if name == UNSTYLED else STYLES[name].fn(frames)).names
    ]

    assert sum(right) / len(right) > 0.85
