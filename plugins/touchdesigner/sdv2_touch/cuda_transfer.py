"""Transfer: which way pictures go between TouchDesigner and the courier, by CUDA or by numpy."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import td

from sdv2_host.client.cuda_driver import Context, CudaDriver, DeviceAddress, open_driver
from sdv2_host.client.mailbox import Picture
from sdv2_host.errors import DeviceError
from sdv2_host.types import Frame
from sdv2_touch.cuda_download import CudaDownload
from sdv2_touch.cuda_path import PIXEL_FORMAT_NAME, CudaPathError
from sdv2_touch.cuda_upload import CudaUpload
from sdv2_touch.transfer import Download, NumpyDownload, NumpyUpload, Upload


class TransferPath(Enum):
    """What the user wants; values are the menu names of the component's parameter."""

    AUTO = "auto"
    """By CUDA where that is to be had and as long as it goes well, else by numpy."""
    CUDA = "cuda"
    NUMPY = "numpy"


class Transfer:
    """A Download and an Upload by the path that is wanted. For TouchDesigner's main thread.

    Fields: `sentence`, which path runs and why, for the status; `trouble`, why none runs and what
    to do, '' = one does. Without a path nothing is fetched and nothing is shown.
    """

    def __init__(
        self,
        wanted: TransferPath,
        top: td.TOP,
        driver: Callable[[], CudaDriver] = open_driver,
    ) -> None:
        """Ready. `top` is asked once for its CUDA memory on the default stream, which takes some
        milliseconds, to find the context that TouchDesigner works in."""
        self.sentence = "by numpy, as chosen"
        self.trouble = ""
        self._wanted = wanted
        self._download: Download | None = None
        self._upload: Upload | None = None
        if wanted is TransferPath.NUMPY:
            self._download, self._upload = NumpyDownload(), NumpyUpload()
            return
        try:
            self._download, self._upload = _cuda_pair(top, driver())
        except DeviceError as error:
            self._do_without_cuda(error)
        else:
            self.sentence = "by CUDA, 8 bits per channel"

    def fetch(self, top: td.TOP) -> Picture | None:
        """As Download.fetch."""
        if self._download is None:
            return None
        try:
            return self._download.fetch(top)
        except CudaPathError as error:
            self._end(error)
            return None

    def show(self, script_top: td.scriptTOP, frame: Frame) -> None:
        """As Upload.show."""
        try:
            if self._upload is not None:
                self._upload.show(script_top, frame)
        except CudaPathError as error:
            self._end(error)
            self.show(script_top, frame)

    def close(self) -> None:
        """What was allocated is freed; waits for copies."""
        if self._download is not None:
            self._download.close()
        if self._upload is not None:
            self._upload.close()
        self._download = self._upload = None

    def _end(self, error: CudaPathError) -> None:
        """After this no error comes from the driver any more: it is not called."""
        self.close()
        self._do_without_cuda(error)

    def _do_without_cuda(self, error: DeviceError) -> None:
        if self._wanted is TransferPath.AUTO:
            self._download, self._upload = NumpyDownload(), NumpyUpload()
            self.sentence = f"by numpy, as CUDA is not to be had: {error}"
        else:
            self.sentence = "none"
            self.trouble = f"pictures cannot go by CUDA: {error}; set Transfer to Auto or Numpy"


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
    try:
        block = top.cudaMemory(pixelFormat=PIXEL_FORMAT_NAME)
    except TypeError as error:
        raise DeviceError(
            "this build of TouchDesigner gives CUDA memory in the TOP's own format only, "
            "2025.32050 or later is needed"
        ) from error
    except td.tdError as error:
        raise DeviceError(f"TouchDesigner gives no CUDA memory here ({error})") from error
    context = driver.context_of(DeviceAddress(block.ptr)) or driver.current_context()
    if context is None:
        raise DeviceError("TouchDesigner has no CUDA context in its main thread")
    return context
