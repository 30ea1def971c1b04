from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.config import Config
from sdv2_host.host.engines import PassthroughEngine, build_engine
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.look_orders import LookOrder
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Orientation, PixelFormat

RNG = np.random.default_rng(3)
RGBA = RNG.integers(0, 256, (6, 4, 4), dtype=np.uint8)


def frame(
    pixels: NDArray[np.generic],
    pixel_format: PixelFormat,
    orientation: Orientation = Orientation.TOP_FIRST,
) -> Frame:
    height, width, _ = pixels.shape
    meta = FrameMeta(width, height, pixel_format=pixel_format, orientation=orientation)
    return Frame(meta, pixels)


SAME_PICTURE = {
    "RGBA8": frame(RGBA, PixelFormat.RGBA8),
    "RGBA8 sRGB": frame(RGBA, PixelFormat.RGBA8_SRGB),
    "BGRA8": frame(RGBA[..., [2, 1, 0, 3]], PixelFormat.BGRA8),
    "RGBA16": frame(RGBA.astype(np.uint16) * 257, PixelFormat.RGBA16),
    "RGBA16F": frame((RGBA / 255).astype(np.float16), PixelFormat.RGBA16F),
    "RGBA32F": frame((RGBA / 255).astype(np.float32), PixelFormat.RGBA32F),
    "bottom first": frame(RGBA[::-1], PixelFormat.RGBA8, Orientation.BOTTOM_FIRST),
}


@pytest.mark.parametrize("source", SAME_PICTURE.values(), ids=SAME_PICTURE.keys())
def test_every_format_gives_the_same_picture(source: Frame) -> None:
    assert np.array_equal(to_rgba8(source), RGBA)


def test_grey_becomes_opaque_grey() -> None:
    grey = RGBA[..., :1]

    rgba = to_rgba8(frame(grey, PixelFormat.R8))

    assert np.array_equal(rgba[..., :3], np.repeat(grey, 3, axis=2))
    assert (rgba[..., 3] == 255).all()


def test_floats_out_of_range_are_clipped_and_nan_is_black() -> None:
    pixels = np.array([[[-1.0, 2.0, np.nan, np.inf]]], np.float32)

    assert to_rgba8(frame(pixels, PixelFormat.RGBA32F)).tolist() == [[[0, 255, 0, 255]]]


def test_passthrough_returns_the_pictures_it_was_given() -> None:
    engine = PassthroughEngine()
    pictures = RNG.integers(0, 256, (4, 6, 4, 4), dtype=np.uint8)

    styled = engine.step([frame(one, PixelFormat.RGBA8) for one in pictures], Params())

    assert np.array_equal(styled.frames, pictures)
    assert styled.spans_ms["convert"] >= 0.0


def test_passthrough_is_chunked_like_the_models() -> None:
    engine = build_engine(Config(engine="passthrough"), lambda text, done: None)

    assert (engine.first_chunk_frames, engine.chunk_frames) == (1, 4)
    assert engine.delay_frames == 3
    assert engine.size is None


def test_a_look_that_passthrough_cannot_keep_is_told_until_it_is_forgotten() -> None:
    save = LookOrder(serial=1, verb="save", name="calm")
    forget = LookOrder(serial=2, verb="forget", name="calm")
    frames = [SAME_PICTURE["RGBA8"]]

    problems = [
        PassthroughEngine().step(frames, Params(looks=orders)).problem
        for orders in ((), (save,), (save, forget))
    ]

    assert problems == ["", "engine passthrough has no looks: it remembers nothing", ""]
