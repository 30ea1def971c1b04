"""The test pattern is a pure function of size and frame number, and it moves."""

from __future__ import annotations

import numpy as np
import pytest

from sdv2_host.sources.pattern import TestPattern
from sdv2_host.types import Size


def test_frame_n_is_the_same_picture_in_every_run() -> None:
    first, second = TestPattern(Size(128, 96)), TestPattern(Size(128, 96))

    second.draw(3)

    assert np.array_equal(first.draw(41), second.draw(41))


@pytest.mark.parametrize("size", [Size(16, 16), Size(97, 65), Size(256, 256), Size(640, 360)])
def test_pattern_is_opaque_rgba_of_the_size_asked_for(size: Size) -> None:
    picture = TestPattern(size).draw(100)

    assert picture.shape == (size.height, size.width, 4)
    assert picture.dtype == np.uint8
    assert (picture[..., 3] == 255).all()


def test_every_frame_differs_from_the_one_before() -> None:
    pattern = TestPattern(Size(128, 128))
    frames = np.stack([pattern.draw(index) for index in range(30)]).astype(int)

    changed = np.abs(np.diff(frames, axis=0)).max(axis=-1) > 8

    assert changed.mean(axis=(1, 2)).min() > 0.001


def test_frames_are_due_at_the_pattern_s_rate() -> None:
    frames = TestPattern(Size(64, 64), fps=50.0).frames()

    due_s = [next(frames).due_s for _ in range(4)]

    assert due_s == pytest.approx([0.0, 0.02, 0.04, 0.06])
