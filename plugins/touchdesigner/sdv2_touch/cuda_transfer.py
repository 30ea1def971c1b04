"""Transfer: a way for pictures between TouchDesigner and the courier, by CUDA or by numpy."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import td

from sdv2_host.client.cuda_driver import Context, CudaDriver, DeviceAddress, open_driver
from sdv2_host.errors import DeviceError
from sdv2_touch.cuda_download import CudaDownload
from sdv2_touch.cuda_path import PIXEL_FORMAT_NAME, CudaPathError, refusal_ends_the_path
from sdv2_touch.cuda_upload import CudaUpload
from sdv2_touch.transfer import Download, Upload


class TransferPath(Enum):
    """Values are the menu names of the component's parameter."""

    AUTO = "auto"
    """By CUDA where that is to be had, else by numpy; `Transfer.sentence` tells which and why."""
    CUDA = "cuda"
    NUMPY = "numpy"


class Transfer(NamedTuple):
    download: Download
    upload: Upload
    sentence: str
    """Which path runs and why, for the status."""


NOT_BY_CUDA = "pictures cannot go by CUDA"
REMEDY = "set Transfer to auto or numpy"
NumpyPair = Callable[[], tuple[Download, Upload]]


def choose(
    wanted: TransferPath,
    top: td.TOP,
    numpy_pair: NumpyPair,
    *,
    driver: Callable[[], CudaDriver] = open_driver,
) -> Transfer:
    """The path that is wanted, ready. In TouchDesigner's main thread; `top` is the one to fetch.

    For CUDA the TOP is asked once for its memory on the default stream, which takes some
    milliseconds, to find the context that TouchDesigner works in.

    Raises:
        DeviceError: CUDA is wanted, and is not to be had.
    """
    if wanted is TransferPath.NUMPY:
        return Transfer(*numpy_pair(), "pictures go by numpy, as chosen")
    try:
        download, upload = _cuda_pair(top, driver())
    except DeviceError as error:
        if wanted is TransferPath.CUDA:
            raise DeviceError(f"{NOT_BY_CUDA}: {error}; {REMEDY}") from error
        return Transfer(*numpy_pair(), f"pictures go by numpy, as CUDA is not to be had: {error}")
    return Transfer(download, upload, "pictures go by CUDA, 8 bits per channel")


def after_failure(wanted: TransferPath, error: CudaPathError, numpy_pair: NumpyPair) -> Transfer:
    """What follows on a path by CUDA that ended, once it is closed: numpy, where the user left the
    choice to us.

    Raises:
        CudaPathError: CUDA is what was wanted.
    """
    if wanted is TransferPath.CUDA:
        raise CudaPathError(f"{NOT_BY_CUDA}: {error}; {REMEDY}") from error
    return Transfer(*numpy_pair(), f"pictures go by numpy from here on: {error}")


def _cuda_pair(top: td.TOP, driver: CudaDriver) -> tuple[CudaDownload, CudaUpload]:
    context = _context_of(top, driver)
    download = CudaDownload(driver, context)
    try:
        return download, CudaUpload(driver, context)
    except CudaPathError:
        download.close()
        raise


def _context_of(top: td.TOP, driver: CudaDriver) -> Context:
    """The context that TouchDesigner's CUDA memory belongs to.

    Which one that is, and whether it is current in the main thread, stands nowhere in its
    documentation; the driver knows it of every address. Memory from a pool has none of its own:
    then it is the thread's.
    """
    with refusal_ends_the_path():
        block = top.cudaMemory(pixelFormat=PIXEL_FORMAT_NAME)
    context = driver.context_of(DeviceAddress(block.ptr)) or driver.current_context()
    if context is None:
        raise DeviceError("TouchDesigner has no CUDA context in its main thread")
    return context
