"""Whatever a ring may hold: the engine, the mix and the dry signal see a picture of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.alpha import premultiplied
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.host.engines import PassthroughEngine
from sdv2_host.host.output_mix import fitted
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.types import AlphaMode, Frame, FrameMeta, Orientation, PixelFormat, Size
from sdv2_host.wan.tiny_weights import TinyModels
from tests.any_frames import any_frames

LEVEL = 2 / 255
MODEL_SIZES = st.sampled_from([Size(32, 32), Size(64, 48), Size(16, 256)])


def as_rgba8(frame: Frame) -> Frame:
    """The same picture in the plainest format, by code that knows no tensors."""
    pixels = to_rgba8(frame)
    assert pixels.dtype == np.uint8
    meta = replace(frame.meta, pixel_format=PixelFormat.RGBA8, orientation=Orientation.TOP_FIRST)
    return Frame(meta, np.copy(pixels, order="C"))


@given(any_frames(), MODEL_SIZES)
def test_a_model_sees_of_any_frame_what_it_sees_of_its_8_bits(frame: Frame, size: Size) -> None:
    staging = Staging(size, torch.device("cpu"), torch.float32)
    before = frame.pixels.copy()

    seen, plain = staging.upload([frame]), staging.upload([as_rgba8(frame)])

    assert seen.shape == (1, 1, 3, size.height, size.width)
    assert bool(torch.isfinite(seen).all())
    assert float(seen.abs().max()) <= 1
    # Bottom rows first are scaled before they are turned: a level of rounding.
    assert float((seen - plain).abs().max()) <= LEVEL * 1.01
    assert frame.pixels.tobytes() == before.tobytes()


@given(any_frames(), MODEL_SIZES)
def test_a_model_sees_a_transparent_frame_on_black(frame: Frame, size: Size) -> None:
    staging = Staging(size, torch.device("cpu"), torch.float32)
    plain = as_rgba8(frame)
    levels = plain.pixels[..., :3].astype(float)
    if frame.meta.alpha is AlphaMode.STRAIGHT:
        levels *= plain.pixels[..., 3:] / 255
    on_black = np.dstack([np.rint(levels), plain.pixels[..., 3]]).astype(np.uint8)
    opaque = Frame(replace(plain.meta, alpha=AlphaMode.OPAQUE), on_black)

    seen = staging.upload([frame])

    # Half a level where a product is half way between two, and one for the rows' order.
    assert float((seen - staging.upload([opaque])).abs().max()) <= 2 * LEVEL * 1.01


@given(any_frames(), MODEL_SIZES)
def test_the_input_in_a_mix_is_a_picture_of_the_outputs_size_opaque_where_the_frame_is(
    frame: Frame, size: Size
) -> None:
    picture, plain = fitted(frame, size), fitted(as_rgba8(frame), size)

    assert picture.shape == (size.height, size.width, 4)
    assert picture.dtype == np.uint8
    assert frame.meta.alpha is not AlphaMode.OPAQUE or (picture[..., 3] == 255).all()
    assert np.array_equal(picture, plain)


@given(any_frames())
def test_passed_through_a_frame_is_its_8_bits_whatever_it_was(frame: Frame) -> None:
    styled = PassthroughEngine().step([frame] * 2, Params())

    assert styled.frames.shape == (2, frame.meta.height, frame.meta.width, 4)
    pixels = as_rgba8(frame).pixels
    is_straight = frame.meta.alpha is AlphaMode.STRAIGHT
    assert np.array_equal(styled.frames[1], premultiplied(pixels) if is_straight else pixels)


@settings(max_examples=10)
@given(st.lists(any_frames(), min_size=5, max_size=5))
def test_a_stream_of_any_frames_gives_pictures(models: TinyModels, frames: list[Frame]) -> None:
    """Of one chunk they may differ in all."""
    engine = tiny_engine(models, tiny_spec({}, Size(32, 32)))

    first, chunk = engine.step(frames[:1], Params()), engine.step(frames[1:], Params())

    assert (len(first.frames), len(chunk.frames)) == (1, 4)
    assert all(np.isfinite(note) for note in chunk.notes.values())
    assert 0 <= chunk.notes["motion"] <= 1


@pytest.mark.parametrize("size", [Size(64, 64), Size(2048, 64), Size(64, 2048), Size(80, 144)])
def test_engines_of_every_size_and_aspect_give_pictures_of_it(
    models: TinyModels, size: Size
) -> None:
    engine = tiny_engine(models, tiny_spec({}, size))
    meta = FrameMeta(63, 47)
    frames = [Frame(meta, np.full((47, 63, 4), level, np.uint8)) for level in range(5)]

    styled = [engine.step(chunk, Params(steps=1)).frames for chunk in (frames[:1], frames[1:])]

    assert [one.shape for one in styled] == [(n, size.height, size.width, 4) for n in (1, 4)]
