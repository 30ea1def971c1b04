"""Pictures by CUDA on a made-up card that does things late, and notes what must not be done."""

from __future__ import annotations

import gc
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import td
from numpy.typing import NDArray
from sdv2_touch.cuda_download import NUM_LANDINGS, CudaDownload
from sdv2_touch.cuda_path import CudaPathError
from sdv2_touch.cuda_transfer import Transfer, TransferPath, after_failure, choose
from sdv2_touch.cuda_upload import NUM_LAUNCHES, CudaUpload
from sdv2_touch.transfer import STALE_NS, NumpyDownload, NumpyUpload

from sdv2_host.client.cuda_driver import Context, CudaDriver
from sdv2_host.client.mailbox import Picture
from sdv2_host.errors import DeviceError
from sdv2_host.types import Frame, FrameMeta, Orientation, PixelFormat
from tests.client.fake_cuda import APP_CONTEXT, ILLEGAL_ADDRESS, OUT_OF_MEMORY, FakeCuda
from tests.touchdesigner.cuda_tops import PaintedTop, ScreenTop, painted

WAITS = {"cuStreamSynchronize"}
ALLOCATES = {"cuMemHostAlloc", "cuMemAlloc_v2", "cuMemFreeHost", "cuMemFree_v2", "cuEventCreate"}


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    made = FakeCuda(app_context_is_current=False)
    yield made
    gc.collect()
    assert made.violations == []


@pytest.fixture
def driver(cuda: FakeCuda) -> CudaDriver:
    return CudaDriver(cuda)


@pytest.fixture
def download(driver: CudaDriver) -> CudaDownload:
    return CudaDownload(driver, Context(APP_CONTEXT))


@pytest.fixture
def upload(driver: CudaDriver) -> CudaUpload:
    return CudaUpload(driver, Context(APP_CONTEXT))


@pytest.fixture
def top(cuda: FakeCuda) -> PaintedTop:
    return PaintedTop(cuda)


@pytest.fixture
def screen(cuda: FakeCuda) -> ScreenTop:
    return ScreenTop(cuda)


def rgba_of(picture: Picture | None) -> NDArray[Any]:
    assert picture is not None
    assert picture.pixel_format == PixelFormat.BGRA8
    return picture.pixels[..., [2, 1, 0, 3]]


def level_of(picture: Picture | None) -> int | None:
    """Which painting it is; it must be that one in every pixel."""
    if picture is None:
        return None
    rgba = rgba_of(picture)
    level = int(rgba[0, 0, 1])
    assert np.array_equal(rgba, painted(level, rgba.shape[1], rgba.shape[0]))
    return level


def fetch_painted(download: CudaDownload, top: PaintedTop, level: int) -> Picture | None:
    top.paint(level)
    return download.fetch(top)  # type: ignore[arg-type]


def frame_of(rgba: NDArray[np.uint8], **meta: Any) -> Frame:
    height, width = rgba.shape[:2]
    told = {"orientation": Orientation.BOTTOM_FIRST, **meta}
    return Frame(FrameMeta(width, height, **told), rgba)


def frame_painted(level: int, width: int = 6, height: int = 4) -> Frame:
    return frame_of(painted(level, width, height))


def screen_shows(screen: ScreenTop, level: int) -> bool:
    texture = screen.textures[-1]
    return np.array_equal(texture, painted(level, texture.shape[1], texture.shape[0]))


# Download


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


def test_a_picture_that_is_held_is_never_written_to(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    held = fetch_painted(download, top, 2)

    for level in range(3, 40):
        cuda.finish()
        fetch_painted(download, top, level)

    assert level_of(held) == 1


def test_a_part_of_a_picture_that_is_held_is_never_written_to(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    fetch_painted(download, top, 1)
    cuda.finish()
    picture = fetch_painted(download, top, 2)
    assert picture is not None
    half = picture.pixels[::2, :, 1]
    del picture

    for level in range(3, 40):
        cuda.finish()
        fetch_painted(download, top, level)

    assert np.all(half == 1)


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


def test_pictures_that_grow_leave_no_memory_behind(
    cuda: FakeCuda, download: CudaDownload, top: PaintedTop
) -> None:
    for size in (3, 9, 5, 12, 12):
        top.paint(1, size, size)
        download.fetch(top)  # type: ignore[arg-type]
        cuda.finish()

    download.close()
    gc.collect()

    assert cuda.left_over() == []


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


# Upload


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


def test_of_a_lost_context_no_memory_of_the_upload_is_freed(
    cuda: FakeCuda, upload: CudaUpload, screen: ScreenTop
) -> None:
    upload.show(screen, frame_painted(1))  # type: ignore[arg-type]
    cuda.finish()
    cuda.lost = ILLEGAL_ADDRESS
    cuda.calls.clear()

    upload.close()

    assert set(cuda.calls) & ALLOCATES == set()


# Which path


def numpy_pair() -> tuple[NumpyDownload, NumpyUpload]:
    return NumpyDownload(), NumpyUpload()


def no_driver() -> CudaDriver:
    raise DeviceError("this machine has no NVIDIA driver")


def chosen(wanted: TransferPath, top: PaintedTop, driver: Callable[[], CudaDriver]) -> Transfer:
    return choose(wanted, top, numpy_pair, driver=driver)  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [TransferPath.AUTO, TransferPath.CUDA])
def test_with_a_card_pictures_go_by_cuda(
    cuda: FakeCuda, driver: CudaDriver, top: PaintedTop, screen: ScreenTop, wanted: TransferPath
) -> None:
    transfer = chosen(wanted, top, lambda: driver)
    top.paint(5)
    transfer.download.fetch(top)  # type: ignore[arg-type]
    cuda.finish()
    picture = transfer.download.fetch(top)  # type: ignore[arg-type]
    transfer.upload.show(screen, frame_painted(6))  # type: ignore[arg-type]
    cuda.finish()
    transfer.download.close()
    transfer.upload.close()

    assert level_of(picture) == 5
    assert screen_shows(screen, 6)
    assert transfer.sentence == "pictures go by CUDA, 8 bits per channel"


def test_numpy_as_chosen_leaves_the_driver_alone(top: PaintedTop) -> None:
    transfer = chosen(TransferPath.NUMPY, top, lambda: pytest.fail("the driver was opened"))

    assert isinstance(transfer.download, NumpyDownload)
    assert isinstance(transfer.upload, NumpyUpload)
    assert transfer.sentence == "pictures go by numpy, as chosen"
    assert top.num_blocks == 0


def test_on_auto_a_machine_without_a_card_uses_numpy_and_says_why(top: PaintedTop) -> None:
    transfer = chosen(TransferPath.AUTO, top, no_driver)

    assert isinstance(transfer.download, NumpyDownload)
    assert isinstance(transfer.upload, NumpyUpload)
    assert transfer.sentence == (
        "pictures go by numpy, as CUDA is not to be had: this machine has no NVIDIA driver"
    )


def test_cuda_where_there_is_none_is_an_error_that_says_what_to_do(top: PaintedTop) -> None:
    with pytest.raises(DeviceError) as caught:
        chosen(TransferPath.CUDA, top, no_driver)

    assert str(caught.value) == (
        "pictures cannot go by CUDA: this machine has no NVIDIA driver; "
        "set Transfer to auto or numpy"
    )


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (TypeError("'pixelFormat' is an invalid keyword argument"), "2025.32050 or later"),
        (td.tdError("CUDA is not supported"), r"no CUDA memory here \(CUDA is not supported\)"),
    ],
    ids=["older build", "other card"],
)
def test_a_touchdesigner_without_cuda_memory_is_told_apart(
    driver: CudaDriver, top: PaintedTop, refusal: Exception, reason: str
) -> None:
    top.refusal = refusal

    with pytest.raises(DeviceError, match=reason):
        chosen(TransferPath.CUDA, top, lambda: driver)


def test_memory_of_a_pool_is_taken_to_be_of_the_threads_context() -> None:
    cuda = FakeCuda(memory_has_context=False)

    transfer = chosen(TransferPath.CUDA, PaintedTop(cuda), lambda: CudaDriver(cuda))
    transfer.download.close()
    transfer.upload.close()

    assert cuda.calls.count("cuStreamCreate") == 2
    assert (cuda.left_over(), cuda.violations) == ([], [])


def test_without_any_context_cuda_is_not_to_be_had() -> None:
    cuda = FakeCuda(app_context_is_current=False, memory_has_context=False)

    with pytest.raises(DeviceError, match="no CUDA context in its main thread"):
        chosen(TransferPath.CUDA, PaintedTop(cuda), lambda: CudaDriver(cuda))


def test_half_a_pair_is_closed_again(cuda: FakeCuda, driver: CudaDriver, top: PaintedTop) -> None:
    class SecondStreamFails(CudaDriver):
        num_streams = 0

        def new_stream(self) -> Any:
            self.num_streams += 1
            cuda.failures.update({"cuStreamCreate": OUT_OF_MEMORY} if self.num_streams > 1 else {})
            return super().new_stream()

    with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        chosen(TransferPath.CUDA, top, lambda: SecondStreamFails(cuda))
    gc.collect()

    assert cuda.left_over() == []


def test_after_a_failure_auto_goes_on_by_numpy_and_says_why() -> None:
    transfer = after_failure(TransferPath.AUTO, CudaPathError("it broke"), numpy_pair)

    assert isinstance(transfer.download, NumpyDownload)
    assert isinstance(transfer.upload, NumpyUpload)
    assert transfer.sentence == "pictures go by numpy from here on: it broke"


def test_after_a_failure_of_what_was_wanted_nothing_goes_on() -> None:
    with pytest.raises(CudaPathError, match="cannot go by CUDA: it broke; set Transfer to"):
        after_failure(TransferPath.CUDA, CudaPathError("it broke"), numpy_pair)
