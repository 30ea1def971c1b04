"""Which way pictures go, CUDA or numpy, and what is said of it."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdv2_host.client.cuda_driver import CudaDriver
from sdv2_host.errors import DeviceError
from tests.client.fake_cuda import OUT_OF_MEMORY, FakeCuda
from tests.fake_td import TouchDesigner, tdError
from tests.touchdesigner.cuda_tops import (
    HostCuda,
    PaintedTop,
    ScreenTop,
    frame_painted,
    importable,
    level_of,
    painted,
    screen_shows,
)
from tests.touchdesigner.touch_stage import fresh_python

with importable():
    from sdv2_touch.cuda_path import CudaPathError
    from sdv2_touch.cuda_transfer import Transfer, TransferPath, after_failure, choose
    from sdv2_touch.transfer import NumpyDownload, NumpyUpload


@pytest.fixture
def top(cuda: FakeCuda) -> PaintedTop:
    return PaintedTop(cuda)


@pytest.fixture
def screen(cuda: FakeCuda) -> ScreenTop:
    return ScreenTop(cuda)


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
        (
            TypeError("'pixelFormat' is an invalid keyword argument"),
            "this build .* 2025.32050",
        ),
        (tdError("CUDA is not supported"), "refuses: tdError: CUDA is not supported"),
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


# With TOPs of the stand-in for TouchDesigner, which checks what it is called with


@pytest.fixture
def touch(tmp_path: Path) -> Iterator[TouchDesigner]:
    with fresh_python(), TouchDesigner(tmp_path) as session:
        yield session


def test_pictures_pass_through_touchdesigners_own_checks(touch: TouchDesigner) -> None:
    ours = importlib.import_module("sdv2_touch.cuda_transfer")
    source: Any = touch.project1.create("moviefileinTOP", "source")
    screen: Any = touch.project1.create("scriptTOP", "screen")
    screen.par.modoutsidecook = True
    touch.show(source, painted(8, 6, 4))
    cuda = HostCuda()
    transfer = ours.choose(
        ours.TransferPath.CUDA, source, lambda: pytest.fail("CUDA"), driver=lambda: CudaDriver(cuda)
    )

    transfer.download.fetch(source)
    cuda.finish()
    picture = transfer.download.fetch(source)
    frame = frame_painted(9)
    transfer.upload.show(screen, frame)
    cuda.finish()  # the stand-in has no streams: what it reads at once is there at the next cook
    transfer.upload.show(screen, frame)
    shown = np.rint(screen.numpyArray() * 255).astype(np.uint8)
    level = level_of(picture)
    del picture
    transfer.download.close()
    transfer.upload.close()

    assert level == 8
    assert np.array_equal(shown, painted(9, 6, 4))
    assert (cuda.left_over(), cuda.violations) == ([], [])


def test_a_touchdesigner_on_another_card_is_told_apart_by_its_own_error(tmp_path: Path) -> None:
    with fresh_python(), TouchDesigner(tmp_path, has_cuda=False) as touch:
        ours = importlib.import_module("sdv2_touch.cuda_transfer")
        source: Any = touch.project1.create("moviefileinTOP", "source")

        with pytest.raises(DeviceError, match="refuses: tdError: CUDA is not available"):
            ours.choose(
                ours.TransferPath.CUDA,
                source,
                lambda: pytest.fail("CUDA"),
                driver=lambda: CudaDriver(HostCuda()),
            )
