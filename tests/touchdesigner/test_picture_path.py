"""The path of pictures while the component plays: when it is chosen, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdv2_host.client.cuda_driver import CudaDriver
from sdv2_host.errors import DeviceError
from tests.client.fake_cuda import OUT_OF_MEMORY, FakeCuda
from tests.touchdesigner.cuda_tops import (
    PaintedTop,
    ScreenTop,
    frame_painted,
    importable,
    screen_shows,
)

with importable():
    from sdv2_touch.cuda_transfer import TransferPath
    from sdv2_touch.picture_path import PicturePath


@pytest.fixture
def top(cuda: FakeCuda) -> PaintedTop:
    return PaintedTop(cuda)


@pytest.fixture
def path(driver: CudaDriver) -> Iterator[PicturePath]:
    """By CUDA, as the user insists."""
    made = PicturePath(TransferPath.CUDA, driver=lambda: driver)
    yield made
    made.close()


def test_without_an_input_the_card_is_not_asked(
    cuda: FakeCuda, top: PaintedTop, path: PicturePath
) -> None:
    screen, frame = ScreenTop(cuda), frame_painted(1)

    is_shown = path.show(screen, frame)  # type: ignore[arg-type]

    assert is_shown
    assert screen.by_numpy == [frame.pixels]
    assert top.num_blocks == 0
    assert "when a TOP is wired" in path.sentence
    path.fetch(top)  # type: ignore[arg-type]
    assert top.num_blocks > 0
    assert "by CUDA" in path.sentence


def test_an_end_of_cuda_that_was_insisted_on_says_what_to_choose(
    cuda: FakeCuda, top: PaintedTop, path: PicturePath
) -> None:
    path.fetch(top)  # type: ignore[arg-type]
    cuda.failures["cuEventRecord"] = OUT_OF_MEMORY

    path.fetch(top)  # type: ignore[arg-type]

    assert path.fetch(top) is None  # type: ignore[arg-type]
    assert path.trouble == path.sentence
    assert "set Transfer to auto or numpy" in path.trouble


def test_what_is_not_to_be_had_is_looked_for_once(top: PaintedTop) -> None:
    asked: list[str] = []

    def no_driver() -> CudaDriver:
        asked.append("driver")
        raise DeviceError("this machine has no NVIDIA driver")

    path = PicturePath(TransferPath.CUDA, driver=no_driver)
    for _ in range(3):
        assert path.fetch(top) is None  # type: ignore[arg-type]

    assert asked == ["driver"]
    assert "no NVIDIA driver" in path.trouble


def test_a_picture_that_found_no_room_is_shown_by_a_later_cook(
    cuda: FakeCuda, top: PaintedTop, path: PicturePath
) -> None:
    screen = ScreenTop(cuda)
    path.fetch(top)  # type: ignore[arg-type]
    frames = [frame_painted(level) for level in range(4)]
    shown = [path.show(screen, frame) for frame in frames]  # type: ignore[arg-type]
    cuda.finish()

    is_shown = path.show(screen, frames[-1])  # type: ignore[arg-type]
    cuda.finish()

    assert shown == [True, True, True, False]
    assert is_shown
    assert screen_shows(screen, 3)
