"""CudaDownload on a made-up card that does things late, and notes what must not be done."""

from __future__ import annotations

import gc
import random
import threading
from typing import Any

import numpy as np
import pytest

from sdv2_host.client.cuda_driver import Context, CudaDriver
from sdv2_host.client.mailbox import Picture
from sdv2_host.types import Orientation, PixelFormat
from tests.client.fake_cuda import APP_CONTEXT, ILLEGAL_ADDRESS, OUT_OF_MEMORY, FakeCuda
from tests.touchdesigner.cuda_tops import (
    ALLOCATES,
    WAITS,
    PaintedTop,
    importable,
    level_of,
)

with importable():
    from sdv2_touch.cuda_download import NUM_LANDINGS, CudaDownload
    from sdv2_touch.cuda_path import CudaPathError
    from sdv2_touch.transfer import STALE_NS


@pytest.fixture
def download(driver: CudaDriver) -> CudaDownload:
    return CudaDownload(driver, Context(APP_CONTEXT))


@pytest.fixture
def top(cuda: FakeCuda) -> PaintedTop:
    return PaintedTop(cuda)


def fetch_painted(download: CudaDownload, top: PaintedTop, level: int) -> Picture | None:
    top.paint(level)
    return download.fetch(top)  # type: ignore[arg-type]


def test_a_picture_comes_once_the_card_has_copied_it(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    first = fetch_painted(download, top, 1)
    while_copying = fetch_painted(download, top, 2)
    cuda.finish(3)  # filled, copied, event: all of picture 1
    third = fetch_painted(download, top, 3)

    assert (first, while_copying) == (None, None)
    assert level_of(third) == 1


def test_a_picture_says_what_it_is(cuda: FakeCuda, download: CudaDownload, top: PaintedTop) -> None:
    download.fetch(top)  # type: ignore[arg-type]
    cuda.finish()

    picture = download.fetch(top)  # type: ignore[arg-type]
    download.close()

    assert picture is not None
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (top.height, top.width, 4)
    assert picture.pixel_format == PixelFormat.BGRA8
    assert picture.orientation == Orientation.BOTTOM_FIRST


def test_a_picture_carries_the_time_at_which_it_was_asked_for(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    first = fetch_painted(download, top, 2)
    cuda.finish()
    second = fetch_painted(download, top, 3)

    assert first is not None
    assert second is not None
    assert 0 < first.capture_ts_ns < second.capture_ts_ns


def test_after_a_pause_the_picture_from_before_it_is_not_given(
    cuda: FakeCuda, driver: CudaDriver, top: PaintedTop
) -> None:
    times_ns = iter([0, STALE_NS + 1, STALE_NS + 1, STALE_NS + 2, STALE_NS + 2])
    download = CudaDownload(driver, Context(APP_CONTEXT), lambda: next(times_ns))
    fetch_painted(download, top, 1)
    cuda.finish()

    after_the_pause = fetch_painted(download, top, 2)
    cuda.finish()
    next_picture = fetch_painted(download, top, 3)
    download.close()

    assert after_the_pause is None
    assert level_of(next_picture) == 2


def test_of_several_pictures_that_landed_the_newest_is_given(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    for level in (1, 2, 3):
        fetch_painted(download, top, level)
    cuda.finish()

    assert level_of(fetch_painted(download, top, 4)) == 3


def test_a_picture_is_given_once(cuda: FakeCuda, download: CudaDownload, top: PaintedTop) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    fetch_painted(download, top, 2)

    assert fetch_painted(download, top, 3) is None


def test_touchdesigners_block_lives_until_the_copy_is_done(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    for level in range(10):
        fetch_painted(download, top, level)
    gc.collect()
    in_flight = sum(block.is_alive for block in cuda.device.values())
    cuda.finish()
    fetch_painted(download, top, 10)
    gc.collect()

    assert in_flight == NUM_LANDINGS
    assert sum(block.is_alive for block in cuda.device.values()) == 1


@pytest.mark.parametrize("part", [slice(None), np.s_[::2, :2]], ids=["whole", "a part"])
def test_what_is_held_of_a_picture_is_never_written_to(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop, part: Any
) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    picture = fetch_painted(download, top, 2)
    assert picture is not None
    held = picture.pixels[part]
    del picture

    for level in range(3, 40):
        cuda.finish()
        fetch_painted(download, top, level)

    assert np.all(held[..., 1] == 1)


def test_with_all_memory_held_frames_are_left_out(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    held = []
    for level in range(NUM_LANDINGS + 1):
        held.append(fetch_painted(download, top, level))
        cuda.finish()
    num_blocks = top.num_blocks

    given = [fetch_painted(download, top, 50) for _ in range(5)]

    assert given == [None] * 5
    assert top.num_blocks == num_blocks
    assert [level_of(one) for one in held] == [None, 0, 1, 2, 3]


def test_pictures_come_again_when_another_thread_lets_one_go(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    held = [fetch_painted(download, top, 0)]
    for level in range(NUM_LANDINGS):
        cuda.finish()
        held.append(fetch_painted(download, top, level))
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()

    fetch_painted(download, top, 77)
    cuda.finish()

    assert level_of(fetch_painted(download, top, 78)) == 77


def test_a_steady_stream_neither_waits_nor_allocates(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    for level in range(10):
        cuda.finish()
        fetch_painted(download, top, level)
    cuda.calls.clear()

    for level in range(100):
        fetch_painted(download, top, level)
        cuda.finish()

    assert set(cuda.calls) & (WAITS | ALLOCATES) == set()


@pytest.mark.parametrize("sizes", [[(6, 4), (12, 9)], [(12, 9), (6, 4)], [(1, 1), (13, 7), (3, 5)]])
def test_the_size_may_change_while_pictures_are_in_flight(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop, sizes: list[tuple[int, int]]
) -> None:
    fetch_painted(download, top, 100)
    got = []
    for level, (width, height) in enumerate([*sizes, *sizes]):
        top.paint(level, width, height)
        got.append(level_of(download.fetch(top)))  # type: ignore[arg-type]
        cuda.finish(3)  # one picture: the newest stays in flight
    download.close()
    gc.collect()

    assert cuda.left_over() == []
    assert got == [None, 100, *range(2 * len(sizes) - 2)]


def test_whatever_happens_every_picture_is_whole_and_newer_than_the_one_before(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    chance = random.Random(6)
    held: list[tuple[int, Picture]] = []
    newest = -1
    for level in range(250):
        if chance.random() < 0.1:
            top.paint(level, chance.randint(1, 9), chance.randint(1, 9))
        picture = fetch_painted(download, top, level)
        got = level_of(picture)
        if picture is not None and got is not None:
            assert newest < got <= level
            newest = got
            held.append((got, picture))
        del picture
        if chance.random() < 0.7:
            cuda.finish(chance.randint(0, len(cuda.queue)))
        if chance.random() < 0.6:
            held = held[1:]
        assert all(level_of(one) == known for known, one in held)

    assert newest > 200


def test_closing_waits_for_copies_and_frees_everything(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    for level in range(3):
        fetch_painted(download, top, level)

    download.close()
    gc.collect()

    assert cuda.left_over() == []


def test_a_picture_that_is_held_outlives_closing(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    held = fetch_painted(download, top, 2)

    download.close()
    still = level_of(held)
    num_left_over = len(cuda.left_over())
    del held

    assert (still, num_left_over) == (1, 1)
    assert cuda.left_over() == []


def test_an_error_of_the_card_ends_the_download_with_a_sentence(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    fetch_painted(download, top, 1)
    cuda.lost = ILLEGAL_ADDRESS

    with pytest.raises(CudaPathError) as caught:
        fetch_painted(download, top, 2)

    assert "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access" in str(caught.value)
    assert "has to be restarted" in str(caught.value)


def test_a_refusal_of_touchdesigner_ends_the_download_with_its_words(
    download: CudaDownload, top: PaintedTop
) -> None:
    top.refusal = RuntimeError("GPU was reset")

    with pytest.raises(CudaPathError, match="refuses: RuntimeError: GPU was reset"):
        fetch_painted(download, top, 1)


def test_of_a_lost_context_nothing_is_freed(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    fetch_painted(download, top, 2)
    cuda.finish()
    cuda.lost = ILLEGAL_ADDRESS
    cuda.calls.clear()

    download.close()

    assert set(cuda.calls) & ALLOCATES == set()


def test_a_copy_that_may_have_begun_keeps_its_block(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    cuda.failures["cuEventRecord"] = OUT_OF_MEMORY

    with pytest.raises(CudaPathError):
        fetch_painted(download, top, 1)
    gc.collect()
    kept = [block.is_alive for block in cuda.device.values()]
    download.close()
    gc.collect()

    assert kept == [True]
    assert cuda.left_over() == []


def test_without_page_locked_memory_the_download_ends_and_closes_clean(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    cuda.failures["cuMemHostAlloc"] = OUT_OF_MEMORY

    with pytest.raises(CudaPathError, match="cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY"):
        fetch_painted(download, top, 1)
    cuda.finish()
    download.close()
    gc.collect()

    assert cuda.left_over() == []


def test_a_block_of_another_size_than_its_shape_tells_is_refused(
    download: CudaDownload, top: PaintedTop
) -> None:
    top.missing_bytes = 4

    with pytest.raises(CudaPathError, match=r"gave 92 bytes .* of 6x4, expected 96"):
        fetch_painted(download, top, 1)
