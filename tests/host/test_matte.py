"""Alpha is carried through: a picture is as transparent as the frame it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdv2_host.alpha import premultiplied, straight
from sdv2_host.host.engines import PassthroughEngine
from sdv2_host.host.matte import cut_out, matte_of, scaled
from sdv2_host.host.outlet import Outlet
from sdv2_host.host.output_mix import OutputMix, fitted, resized
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.types import AlphaMode, Frame, FrameMeta, Size, StyledChunk
from tests.any_frames import any_frames

OPAQUE, STRAIGHT, PREMULTIPLIED = AlphaMode
SIZE = Size(6, 4)
RNG = np.random.default_rng(5)
MS = 1_000_000


def frame(number: int, alpha: AlphaMode, size: Size = SIZE) -> Frame:
    """Of any colours and alphas, as far as the mode allows."""
    pixels = np.random.default_rng(number).integers(0, 256, (size.height, size.width, 4), np.uint8)
    pixels = premultiplied(pixels) if alpha is PREMULTIPLIED else pixels
    return Frame(FrameMeta(*size, alpha=alpha, frame=number, capture_ts_ns=number), pixels)


def as_float(picture: NDArray[np.uint8], alpha: AlphaMode) -> NDArray[np.float64]:
    """What is on black and how much of it is there, by no code of ours."""
    levels = picture / 255
    return np.concatenate(
        [levels[..., :3] * (levels[..., 3:] if alpha is STRAIGHT else 1), levels[..., 3:]], axis=2
    )


@given(st.integers(0, 255), st.integers(0, 255))
def test_a_colour_on_black_is_rounded_to_the_nearest_level(colour: int, alpha: int) -> None:
    picture = np.array([[[colour, 0, 255, alpha]]], np.uint8)

    on_black = premultiplied(picture)

    assert on_black.tolist() == [[[(2 * colour * alpha + 255) // 510, 0, alpha, alpha]]]
    back = straight(on_black)
    assert back[0, 0, 3] == alpha
    assert np.array_equal(premultiplied(back), on_black)


@given(any_frames())
def test_a_matte_is_the_alpha_of_the_8_bits_and_a_copy(frame: Frame) -> None:
    matte, plane = matte_of(frame), to_rgba8(frame)[..., 3]

    if frame.meta.alpha is OPAQUE or (plane == 255).all():
        assert matte is None
        return
    assert matte is not None
    assert np.array_equal(matte, plane)
    assert not np.shares_memory(matte, frame.pixels)


def test_pictures_of_opaque_frames_are_the_very_same() -> None:
    pictures = RNG.integers(0, 256, (2, 4, 6, 4), np.uint8)

    out = cut_out(pictures, [None, None])

    assert all(np.shares_memory(one, pictures) for one in out)
    assert np.array_equal(np.stack(out), pictures)


def shown(
    run_dir: Path, stream: str, chunks: Sequence[tuple[list[Frame], StyledChunk]]
) -> list[Frame]:
    """What is in the ring after frames were given and chunks came."""
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, slot_count=64, run_dir=run_dir)) as outlet,
    ):
        for sources, styled in chunks:
            outlet.expect(sources)
            outlet.publish(styled, version=1)
        frames = []
        while (found := reader.read_next()) is not None:
            frames.append(found)
    return frames


def styled(count: int, size: Size = SIZE) -> StyledChunk:
    pixels = RNG.integers(0, 256, (count, size.height, size.width, 4), np.uint8)
    pixels[..., 3] = 255
    return StyledChunk(pixels, {}, {})


@pytest.mark.parametrize("alpha", [STRAIGHT, PREMULTIPLIED])
@pytest.mark.parametrize("size", [SIZE, Size(12, 8), Size(4, 4), Size(2, 2)])
def test_each_picture_is_cut_out_by_the_alpha_of_its_own_frame_however_late_it_comes(
    run_dir: Path, stream: str, alpha: AlphaMode, size: Size
) -> None:
    sources = [frame(number, alpha) for number in range(1, 10)]
    late = [styled(1, size), styled(0, size), styled(8, size)]

    out = shown(
        run_dir,
        stream,
        [(sources[:1], late[0]), (sources[1:5], late[1]), (sources[5:], late[2])],
    )

    made = np.concatenate([one.frames for one in late])
    assert [one.meta.source_frame for one in out] == list(range(1, 10))
    assert {one.meta.alpha for one in out} == {PREMULTIPLIED}
    for one, source, picture in zip(out, sources, made, strict=True):
        plane = scaled(source.pixels[..., 3].copy(), size)
        assert np.array_equal(one.pixels[..., 3], plane)
        wanted = as_float(np.dstack([picture[..., :3], plane]), STRAIGHT)
        assert np.abs(as_float(one.pixels, PREMULTIPLIED) - wanted).max() <= 0.5001 / 255


def test_opaque_frames_keep_no_alpha_and_their_pictures_every_byte(
    run_dir: Path, stream: str
) -> None:
    """Alpha that is said to be none may be anything, and what is all over 255 is none."""
    garbage = [frame(number, OPAQUE) for number in (1, 2)]
    solid = [Frame(one.meta, np.full_like(one.pixels, 255)) for one in (frame(3, STRAIGHT),)]
    chunk = styled(3)

    out = shown(run_dir, stream, [([*garbage, *solid], chunk)])

    assert [matte_of(one) for one in (*garbage, *solid)] == [None] * 3
    assert np.array_equal(np.stack([one.pixels for one in out]), chunk.frames)
    assert [one.meta.alpha for one in out] == [OPAQUE, OPAQUE, PREMULTIPLIED]


def test_alpha_of_a_session_that_is_over_is_forgotten(run_dir: Path, stream: str) -> None:
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        outlet.expect([frame(1, STRAIGHT), frame(2, STRAIGHT)])
        outlet.restart()
        outlet.expect([frame(3, STRAIGHT)])
        outlet.publish(styled(1), version=1)
        found = reader.read_next()

    assert found is not None
    assert np.array_equal(found.pixels[..., 3], frame(3, STRAIGHT).pixels[..., 3])


@pytest.mark.parametrize("alpha", [STRAIGHT, PREMULTIPLIED])
@pytest.mark.parametrize("params", [Params(), Params(width=12, height=8)])
def test_what_is_passed_through_is_the_frame_itself_premultiplied(
    run_dir: Path, stream: str, alpha: AlphaMode, params: Params
) -> None:
    source = frame(1, alpha)

    (out,) = shown(run_dir, stream, [([source], PassthroughEngine().step([source], params))])

    assert out.meta.alpha is PREMULTIPLIED
    assert np.array_equal(out.pixels, fitted(source, Size(out.meta.width, out.meta.height)))
    if not params.width:
        wanted = as_float(source.pixels, alpha)
        assert np.abs(as_float(out.pixels, PREMULTIPLIED) - wanted).max() <= 0.5001 / 255


@pytest.mark.parametrize("alpha", [STRAIGHT, PREMULTIPLIED])
@pytest.mark.parametrize("size", [SIZE, Size(4, 4), Size(9, 6)])
@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_a_mixture_with_the_input_is_as_transparent_as_both(
    run_dir: Path, stream: str, alpha: AlphaMode, size: Size, mix: float
) -> None:
    source = frame(7, alpha, Size(6, 4))
    (wet,) = shown(run_dir, stream, [([source], styled(1, size))])
    output = OutputMix(Params(mix=mix))
    output.offer(source, size, MS)

    mixture = output.compose(wet, MS)

    dry = fitted(source, size)
    assert np.array_equal(mixture[..., 3], wet.pixels[..., 3])
    wanted = mix * wet.pixels.astype(float) + (1 - mix) * dry
    assert np.abs(mixture - wanted).max() <= 1.0
    assert (mixture[..., :3] <= mixture[..., 3:]).all()


def test_blackout_and_safe_black_are_opaque_and_the_way_there_is_even() -> None:
    wet = frame(1, PREMULTIPLIED)
    black = np.zeros_like(wet.pixels)
    black[..., 3] = 255
    dark, half, safe = (
        OutputMix(params) for params in (Params(blackout=True), Params(panic_s=1.0), Params())
    )
    half.play(Params(panicked=True, safe="black", panic_s=1.0), 0)
    safe.play(Params(panicked=True, safe="black", panic_s=0.0), 0)

    middle = half.compose(wet, 500 * MS)

    assert np.array_equal(dark.compose(wet, 0), black)
    assert np.array_equal(safe.compose(wet, 0), black)
    assert np.abs(middle - (wet.pixels.astype(float) + black) / 2).max() <= 0.5


def test_a_picture_that_panic_holds_stays_transparent_at_another_size() -> None:
    wet = frame(1, PREMULTIPLIED)
    mix = OutputMix(Params(panic_s=0.0))
    mix.compose(wet, 0)
    mix.play(Params(panicked=True, safe="hold", panic_s=0.0), 1)
    larger = frame(2, PREMULTIPLIED, Size(12, 8))

    held = mix.compose(larger, 2)

    assert np.array_equal(held, resized(wet.pixels, Size(12, 8), PREMULTIPLIED))
    assert np.array_equal(held[..., 3], scaled(wet.pixels[..., 3].copy(), Size(12, 8)))


@given(any_frames(), st.sampled_from([Size(32, 32), Size(16, 48)]))
def test_a_resized_picture_that_is_said_to_be_opaque_is(frame: Frame, size: Size) -> None:
    opaque = replace(frame.meta, alpha=OPAQUE)
    picture = to_rgba8(frame)

    out = resized(picture, size)

    assert picture.shape[:2] == (size.height, size.width) or (out[..., 3] == 255).all()
    assert (fitted(Frame(opaque, frame.pixels), size)[..., 3] == 255).all()
