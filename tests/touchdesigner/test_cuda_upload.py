"""CudaUpload on a made-up card that does things late, and notes what must not be done."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.client.cuda_driver import Context, CudaDriver
from sdv2_host.types import Orientation, PixelFormat
from tests.client.fake_cuda import APP_CONTEXT, ILLEGAL_ADDRESS, OUT_OF_MEMORY, FakeCuda
from tests.touchdesigner.cuda_tops import (
    ALLOCATES,
    WAITS,
    ScreenTop,
    frame_of,
    frame_painted,
    importable,
    painted,
    screen_shows,
)

with importable():
    from sdv2_touch.cuda_path import CudaPathError
    from sdv2_touch.cuda_upload import NUM_LAUNCHES, CudaUpload


@pytest.fixture
def upload(driver: CudaDriver) -> CudaUpload:
    return CudaUpload(driver, Context(APP_CONTEXT))


@pytest.fixture
def screen(cuda: FakeCuda) -> ScreenTop:
    return ScreenTop(cuda)


def test_the_script_top_shows_the_frame(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    upload.show(screen, frame_painted(9))  # type: ignore[arg-type]
    cuda.finish()

    assert screen_shows(screen, 9)


@pytest.mark.parametrize(
    ("pixels", "meta"),
    [
        (painted(9, 6, 4)[::-1], {"orientation": Orientation.TOP_FIRST}),
        (painted(9, 6, 4)[..., [2, 1, 0, 3]], {"pixel_format": PixelFormat.BGRA8}),
        (painted(9, 12, 8)[:4, ::2], {}),
    ],
    ids=["top row first", "already BGRA", "strided"],
)
def test_frames_are_shown_right_however_they_lie(
    cuda: FakeCuda,
    upload: CudaUpload,
    screen: ScreenTop,
    pixels: NDArray[np.uint8],
    meta: dict[str, Any],
) -> None:
    upright = pixels[::-1] if meta.get("orientation") == Orientation.TOP_FIRST else pixels
    expected = upright[..., [2, 1, 0, 3]] if "pixel_format" in meta else upright

    upload.show(screen, frame_of(pixels, **meta))  # type: ignore[arg-type]
    cuda.finish()

    assert np.array_equal(screen.textures[-1], expected)


def test_a_frame_that_stays_is_sent_once_and_shown_every_cook(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    frame = frame_painted(3)

    for _ in range(20):
        upload.show(screen, frame)  # type: ignore[arg-type]
        cuda.finish()

    assert cuda.calls.count("cuMemcpyHtoDAsync_v2") == 1
    assert len(screen.textures) == 20


def test_while_the_card_is_behind_the_picture_before_stays(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    frames = [frame_painted(level) for level in range(10)]

    for frame in frames:
        upload.show(screen, frame)  # type: ignore[arg-type]
    cuda.finish()
    upload.show(screen, frames[-1])  # type: ignore[arg-type]
    cuda.finish()

    levels = [int(texture[0, 0, 1]) for texture in screen.textures]
    assert levels == [*range(NUM_LAUNCHES), *[NUM_LAUNCHES - 1] * (10 - NUM_LAUNCHES), 9]


def test_whatever_the_card_does_every_picture_shown_is_whole_and_none_goes_back(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    chance = random.Random(7)
    size = (6, 4)
    frame = frame_painted(0)
    for level in range(250):
        if chance.random() < 0.1:
            size = (chance.randint(1, 9), chance.randint(1, 9))
        if chance.random() < 0.6:
            frame = frame_painted(level, *size)
        upload.show(screen, frame)  # type: ignore[arg-type]
        if chance.random() < 0.7:
            cuda.finish(chance.randint(0, len(cuda.queue)))
    cuda.finish()

    levels = [int(texture[0, 0, 1]) for texture in screen.textures]
    assert levels == sorted(levels)
    assert levels[-1] > 200
    assert all(
        np.array_equal(texture, painted(level, texture.shape[1], texture.shape[0]))
        for level, texture in zip(levels, screen.textures, strict=True)
    )


def test_a_steady_stream_of_frames_neither_waits_nor_allocates(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    for level in range(10):
        upload.show(screen, frame_painted(level))  # type: ignore[arg-type]
        cuda.finish()
    cuda.calls.clear()

    for level in range(100):
        upload.show(screen, frame_painted(level))  # type: ignore[arg-type]
        cuda.finish()

    assert set(cuda.calls) & (WAITS | ALLOCATES) == set()


def test_what_was_shown_last_is_not_written_next(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    for level in range(10):
        upload.show(screen, frame_painted(level))  # type: ignore[arg-type]
        cuda.finish()

    assert all(one != after for one, after in itertools.pairwise(screen.addresses))


@pytest.mark.parametrize("sizes", [[3, 9, 5], [9, 3, 12]])
def test_frames_that_grow_leave_no_memory_behind(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop, sizes: list[int]
) -> None:
    for size in [one for one in sizes for _ in range(NUM_LAUNCHES + 1)]:
        upload.show(screen, frame_painted(1, size, size))  # type: ignore[arg-type]
        cuda.finish()

    upload.close()

    assert cuda.left_over() == []


def test_closing_the_upload_waits_for_copies_and_frees_everything(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    for level in range(3):
        upload.show(screen, frame_painted(level))  # type: ignore[arg-type]

    upload.close()

    assert cuda.left_over() == []


@pytest.mark.parametrize("call", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuMemcpyHtoDAsync_v2"])
def test_an_upload_that_fails_ends_with_a_sentence_and_closes_clean(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop, call: str
) -> None:
    cuda.failures[call] = OUT_OF_MEMORY

    with pytest.raises(CudaPathError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        upload.show(screen, frame_painted(1))  # type: ignore[arg-type]
    upload.close()

    assert screen.num_shown == 0
    assert cuda.left_over() == []


def test_a_refusal_of_touchdesigner_ends_the_upload_with_its_words(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    screen.refusal = RuntimeError("not inside a cook")

    with pytest.raises(CudaPathError, match="refuses: RuntimeError: not inside a cook"):
        upload.show(screen, frame_painted(1))  # type: ignore[arg-type]
    upload.close()

    assert cuda.left_over() == []


def test_of_a_lost_context_no_memory_of_the_upload_is_freed(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    upload.show(screen, frame_painted(1))  # type: ignore[arg-type]
    cuda.finish()
    cuda.lost = ILLEGAL_ADDRESS
    cuda.calls.clear()

    upload.close()

    assert set(cuda.calls) & ALLOCATES == set()
