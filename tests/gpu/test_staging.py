from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.gpu.staging import Staging
from sdv2_host.types import Frame, FrameMeta, Orientation, PixelFormat, Size, centre_crop

SIZE = Size(48, 32)
CPU = torch.device("cpu")
LEVEL = 2 / 255
sides = st.integers(1, 200)


def staging(size: Size = SIZE) -> Staging:
    return Staging(size, CPU, torch.float32)


def frame_of(
    pixels: np.ndarray,
    pixel_format: PixelFormat = PixelFormat.RGBA8,
    orientation: Orientation = Orientation.TOP_FIRST,
) -> Frame:
    meta = FrameMeta(
        pixels.shape[1], pixels.shape[0], pixel_format=pixel_format, orientation=orientation
    )
    return Frame(meta, pixels)


def random_rgba(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


def test_bytes_of_the_models_size_come_back_unchanged() -> None:
    frames = [random_rgba(*SIZE, seed=seed) for seed in range(4)]

    back = staging().download(staging().upload([frame_of(pixels) for pixels in frames]))

    assert back.shape == (4, 32, 48, 4)
    assert np.array_equal(back[..., :3], np.stack(frames)[..., :3])
    assert (back[..., 3] == 255).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_level_of_grey_comes_back_unchanged(dtype: torch.dtype) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 4, axis=2)
    both_ways = Staging(Size(16, 16), CPU, dtype)

    uploaded = both_ways.upload([frame_of(grey)])
    back = both_ways.download(uploaded)

    exact = torch.arange(256, dtype=torch.float32) * LEVEL - 1
    assert torch.equal(uploaded[0, 0, 0].flatten(), exact.to(dtype))
    assert np.array_equal(back[0, ..., :3], grey[..., :3])


@settings(max_examples=100, deadline=None)
@given(width=sides, height=sides, target_width=sides, target_height=sides)
def test_the_crop_is_centred_inside_and_of_the_targets_aspect(
    width: int, height: int, target_width: int, target_height: int
) -> None:
    rows, columns = centre_crop(Size(width, height), Size(target_width, target_height))

    kept = Size(columns.stop - columns.start, rows.stop - rows.start)
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width
    assert kept.width == width or kept.height == height
    assert abs(rows.start - (height - rows.stop)) <= 1
    assert abs(columns.start - (width - columns.stop)) <= 1
    assert (
        abs(kept.width - kept.height * target_width / target_height) <= 0.5
        or abs(kept.height - kept.width * target_height / target_width) <= 0.5
        or min(kept) == 1
    )


@settings(max_examples=25, deadline=None)
@given(width=sides, height=sides)
def test_odd_sizes_fit_and_stay_in_range(width: int, height: int) -> None:
    x = staging().upload([frame_of(random_rgba(width, height))])

    assert x.shape == (1, 1, 3, 32, 48)
    assert x.abs().max() <= 1 + 1e-6


def test_a_flat_colour_stays_flat_at_any_size() -> None:
    pixels = np.full((301, 207, 4), (200, 100, 50, 0), dtype=np.uint8)

    x = staging().upload([frame_of(pixels)])

    expected = torch.tensor([200, 100, 50]).reshape(1, 1, 3, 1, 1) * LEVEL - 1
    torch.testing.assert_close(x, expected.expand_as(x))


def test_fine_checks_become_grey_not_noise() -> None:
    checks = np.indices((128, 192)).sum(axis=0) % 2 * 255
    pixels = np.repeat(checks[..., None], 4, axis=2).astype(np.uint8)

    x = staging().upload([frame_of(pixels)])

    assert x.abs().max() < 0.06


def test_all_formats_of_one_picture_agree() -> None:
    rgba = random_rgba(*SIZE)
    bgra = np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])
    pictures = {
        PixelFormat.RGBA8_SRGB: rgba,
        PixelFormat.BGRA8: bgra,
        PixelFormat.RGBA16: rgba.astype(np.uint16) * 257,
        PixelFormat.RGBA16F: (rgba / 255).astype(np.float16),
        PixelFormat.RGBA32F: (rgba / 255).astype(np.float32),
    }
    expected = staging().upload([frame_of(rgba)])

    for pixel_format, pixels in pictures.items():
        got = staging().upload([frame_of(pixels, pixel_format)])

        assert torch.equal(got, expected), pixel_format


@pytest.mark.parametrize("shape", [(32, 48), (32, 48, 1)])
def test_one_channel_becomes_grey(shape: tuple[int, ...]) -> None:
    pixels = random_rgba(*SIZE)[..., 0].reshape(shape)

    x = staging().upload([frame_of(pixels, PixelFormat.R8)])

    assert torch.equal(x[0, 0, 0], x[0, 0, 1])
    assert torch.equal(x[0, 0, 0], x[0, 0, 2])


@pytest.mark.parametrize("size", [SIZE, Size(97, 61), Size(61, 98)])
def test_bottom_first_is_the_same_picture_upside_down(size: Size) -> None:
    rgba = random_rgba(*size)
    flipped = np.ascontiguousarray(rgba[::-1])

    upright = staging().upload([frame_of(rgba)])
    turned = staging().upload([frame_of(flipped, orientation=Orientation.BOTTOM_FIRST)])

    torch.testing.assert_close(turned, upright, atol=LEVEL, rtol=0)


@pytest.mark.parametrize("pixel_format", [PixelFormat.RGBA16F, PixelFormat.RGBA32F])
def test_hostile_floats_become_black_or_white(pixel_format: PixelFormat) -> None:
    dtype = np.float16 if pixel_format is PixelFormat.RGBA16F else np.float32
    hostile = np.array([np.nan, np.inf, -np.inf, -5, 7, 6e4, -0.0, 1e-8], dtype=dtype)
    pixels = np.resize(hostile, (32, 48, 4))

    x = staging().upload([frame_of(pixels, pixel_format)])

    expected = np.array([-1, 1, -1, -1, 1, 1, -1, -1], dtype=np.float32)
    wanted = torch.from_numpy(np.resize(expected, (32, 48, 4))[..., :3].copy()).permute(2, 0, 1)
    assert torch.equal(x[0, 0], wanted)


def test_any_float_bits_give_a_picture_in_range() -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, (61, 97, 4), dtype=np.uint32)

    x = staging().upload([frame_of(bits.view(np.float32), PixelFormat.RGBA32F)])

    assert x.isfinite().all()
    assert x.abs().max() <= 1 + 1e-6


def test_frames_of_different_sizes_share_a_chunk() -> None:
    frames = [frame_of(random_rgba(*size)) for size in ((48, 32), (7, 5), (1, 300), (640, 480))]

    assert staging().upload(frames).shape == (1, 4, 3, 32, 48)


def test_the_callers_pixels_are_left_alone() -> None:
    pixels = np.full((32, 48, 4), np.nan, dtype=np.float32)
    frozen = random_rgba(48, 32)
    frozen.flags.writeable = False

    staging().upload([frame_of(pixels, PixelFormat.RGBA32F), frame_of(frozen)])

    assert np.isnan(pixels).all()


def test_download_rounds_and_clamps() -> None:
    levels = torch.tensor([-2.0, -1.0, 0.0, 10.4 * LEVEL - 1, 10.6 * LEVEL - 1, 1.0, 3.0])

    back = staging().download(levels.reshape(1, 1, 1, 1, 7).expand(1, 1, 3, 1, 7))

    assert back[0, 0, :, 0].tolist() == [0, 0, 128, 10, 11, 255, 255]


def test_a_small_type_is_rounded_to_bytes_once() -> None:
    frames = torch.linspace(-1, 1, 3 * 5000).reshape(1, 1, 3, 50, 100).to(torch.bfloat16)
    exact_HWC = (frames[0, 0].double() * 127.5 + 127.5).round().permute(1, 2, 0)

    back = staging().download(frames)

    assert np.array_equal(back[0, ..., :3], exact_HWC.numpy())


def test_no_frames_download_as_no_frames() -> None:
    assert staging().download(torch.empty(1, 0, 3, 32, 48)).shape == (0, 32, 48, 4)
