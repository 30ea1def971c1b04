"""PicturePath: pictures out of the input and into the output, by CUDA or by numpy."""

from __future__ import annotations

import td

from sdv2_host.client.mailbox import Picture
from sdv2_host.errors import DeviceError
from sdv2_host.types import Frame
from sdv2_touch.cuda_path import CudaPathError
from sdv2_touch.cuda_transfer import Transfer, TransferPath, after_failure, choose
from sdv2_touch.transfer import Download, NumpyDownload, NumpyUpload, Upload


class PicturePath:
    """Fields, per activation: what the user wants; the transfer in use, None = the wanted one is
    not to be had; `sentence` says which runs and why."""

    def __init__(self, wanted: TransferPath, top: td.TOP) -> None:
        self._wanted = wanted
        self._transfer: Transfer | None = None
        try:
            self._transfer = choose(wanted, top, numpy_pair)
        except DeviceError as error:
            self.sentence = self.trouble = str(error)
        else:
            self.sentence, self.trouble = self._transfer.sentence, ""

    def fetch(self, top: td.TOP) -> Picture | None:
        """The newest finished picture of the TOP; None = none. Never waits for the card."""
        if self._transfer is None:
            return None
        try:
            return self._transfer.download.fetch(top)
        except CudaPathError as error:
            self._fail(error)
            return None

    def show(self, script_top: td.scriptTOP, frame: Frame) -> None:
        """The Script TOP has the picture, called inside its cook."""
        if self._transfer is None:
            return
        try:
            self._transfer.upload.show(script_top, frame)
        except CudaPathError as error:
            self._fail(error)
            self.show(script_top, frame)

    def close(self) -> None:
        """What was allocated is freed."""
        if self._transfer is not None:
            self._transfer.download.close()
            self._transfer.upload.close()
            self._transfer = None

    def _fail(self, error: CudaPathError) -> None:
        """Numpy from now on where the user left the choice, else nothing."""
        self.close()
        try:
            self._transfer = after_failure(self._wanted, error, numpy_pair)
        except CudaPathError:
            self.sentence = self.trouble = str(error)
        else:
            self.sentence = self._transfer.sentence


def numpy_pair() -> tuple[Download, Upload]:
    return NumpyDownload(), NumpyUpload()
