"""PicturePath: pictures out of the input and into the output, by CUDA or by numpy."""

from __future__ import annotations

from collections.abc import Callable

import td

from sdv2_host.client.cuda_driver import CudaDriver, open_driver
from sdv2_host.client.mailbox import Picture
from sdv2_host.errors import DeviceError
from sdv2_host.types import Frame
from sdv2_touch.cuda_path import CudaPathError
from sdv2_touch.cuda_transfer import Transfer, TransferPath, after_failure, choose
from sdv2_touch.transfer import Download, NumpyDownload, NumpyUpload, Upload


class PicturePath:
    """Fields, per activation: what the user wants; the transfer in use, from the first picture of
    the input on; whether there is none because the wanted one is not to be had; `sentence` says
    which runs and why, `trouble` why none does."""

    def __init__(
        self, wanted: TransferPath, *, driver: Callable[[], CudaDriver] = open_driver
    ) -> None:
        self._wanted = wanted
        self._driver = driver
        self._transfer: Transfer | None = None
        self._has_ended = False
        self.sentence = "how pictures go is chosen when a TOP is wired to the input"
        self.trouble = ""

    def fetch(self, top: td.TOP) -> Picture | None:
        """The newest finished picture of the TOP; None = none. Waits for the card but once, when
        CUDA is looked for."""
        if self._transfer is None and not self._has_ended:
            self._choose(top)
        if self._transfer is None:
            return None
        try:
            return self._transfer.download.fetch(top)
        except CudaPathError as error:
            self._fail(error)
            return None

    def show(self, script_top: td.scriptTOP, frame: Frame) -> bool:
        """Whether the Script TOP has the picture; if not, it has the one before, and another cook
        is needed. Called inside its cook."""
        if self._has_ended:
            return True
        if self._transfer is None:  # without an input: nobody else's picture is worth a probe
            return NumpyUpload().show(script_top, frame)
        try:
            return self._transfer.upload.show(script_top, frame)
        except CudaPathError as error:
            self._fail(error)
            return self.show(script_top, frame)

    def close(self) -> None:
        """What was allocated is freed."""
        if self._transfer is not None:
            self._transfer.download.close()
            self._transfer.upload.close()
            self._transfer = None

    def _choose(self, top: td.TOP) -> None:
        try:
            self._transfer = choose(self._wanted, top, numpy_pair, driver=self._driver)
        except DeviceError as error:
            self._end(error)
        else:
            self.sentence = self._transfer.sentence

    def _fail(self, error: CudaPathError) -> None:
        """Numpy from now on where the user left the choice, else nothing."""
        self.close()
        try:
            self._transfer = after_failure(self._wanted, error, numpy_pair)
        except CudaPathError as final:
            self._end(final)
        else:
            self.sentence = self._transfer.sentence

    def _end(self, error: DeviceError) -> None:
        self._has_ended = True
        self.sentence = self.trouble = str(error)


def numpy_pair() -> tuple[Download, Upload]:
    return NumpyDownload(), NumpyUpload()
