"""CudaUpload: the host's pictures for a Script TOP, sent while TouchDesigner goes on."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import td
from numpy.typing import NDArray

from sdv2_host.client.cuda_driver import (
    Context,
    CudaDriver,
    DeviceAddress,
    Event,
    HostAddress,
    Stream,
)
from sdv2_host.types import Frame, Orientation, PixelFormat, Size
from sdv2_touch.cuda_path import BYTES_PER_PIXEL, ends_the_path, has_settled, refusal_ends_the_path

NUM_LAUNCHES = 3
"""One is shown, one is on its way to the card, one is written."""


@dataclass(slots=True)
class _Launch:
    """A picture's way to the card: page-locked memory, device memory, and how TouchDesigner sees
    the latter."""

    event: Event
    """Done = written to the card and read there by TouchDesigner. Recorded per cook."""
    shape: td.CUDAMemoryShape
    host: HostAddress | None = None
    device: DeviceAddress | None = None
    capacity_bytes: int = 0
    num_bytes: int = 0
    """Of the picture."""


class CudaUpload:
    """The host's pictures for a Script TOP. For TouchDesigner's main thread, inside its cook."""

    def __init__(self, driver: CudaDriver, context: Context) -> None:
        self._driver = driver
        self._context = context
        with ends_the_path(), driver.current(context):
            self._stream: Stream = driver.new_stream()
        self._launches: list[_Launch] = []
        """Per session; up to NUM_LAUNCHES, made when first needed."""
        self._shown: _Launch | None = None
        self._frame: Frame | None = None
        """What `_shown` holds: a frame that is shown for several cooks is sent to the card once."""

    def show(self, script_top: td.scriptTOP, frame: Frame) -> bool:
        """Whether the Script TOP has the picture, in the order of our stream.

        `frame` is uint8 [H, W, 4]. False while earlier pictures are still on their way: the one
        before stays for another cook.

        Raises:
            CudaPathError: see there; only `close` is of use afterwards.
        """
        with ends_the_path(), self._driver.current(self._context):
            if frame is not self._frame:
                self._send(frame)
        shown = self._shown
        assert shown is not None, "the first picture finds all memory idle"
        assert shown.device is not None, "it was sent there"
        with refusal_ends_the_path():
            script_top.copyCUDAMemory(
                shown.device, shown.num_bytes, shown.shape, stream=self._stream
            )
        with ends_the_path(), self._driver.current(self._context):
            self._driver.record(shown.event, self._stream)
        return frame is self._frame

    def close(self) -> None:
        """Everything is freed. Waits for copies.

        Nothing is freed of a context that is lost.
        """
        if has_settled(self._driver, self._context, self._stream):
            with self._driver.current(self._context):
                for launch in self._launches:
                    self._driver.free_event(launch.event)
                    self._free(launch)
                self._driver.free_stream(self._stream)
        self._launches.clear()
        self._shown = self._frame = None

    def _send(self, frame: Frame) -> None:
        launch = self._idle_launch()
        if launch is None:
            return
        height, width = frame.pixels.shape[:2]
        num_bytes = height * width * BYTES_PER_PIXEL
        host, device = self._fitting_memory(launch, num_bytes)
        _write_bgra(_pixels_at(host, Size(width, height)), frame)
        self._driver.begin_upload(device, host, num_bytes, self._stream)
        self._driver.record(launch.event, self._stream)
        launch.num_bytes = num_bytes
        launch.shape.width, launch.shape.height = width, height
        self._shown, self._frame = launch, frame

    def _idle_launch(self) -> _Launch | None:
        for launch in self._launches:
            # Not what was shown last: that TouchDesigner waits for our stream is documented, that
            # our stream waits for its reading is not.
            if launch is not self._shown and self._driver.is_done(launch.event):
                return launch
        if len(self._launches) == NUM_LAUNCHES:
            return None
        shape = td.CUDAMemoryShape()
        shape.numComps, shape.dataType = BYTES_PER_PIXEL, np.uint8
        self._launches.append(_Launch(self._driver.new_event(), shape))
        return self._launches[-1]

    def _fitting_memory(self, launch: _Launch, num_bytes: int) -> tuple[HostAddress, DeviceAddress]:
        if num_bytes > launch.capacity_bytes:
            self._free(launch)
            launch.host = self._driver.new_host_memory(num_bytes)
            launch.device = self._driver.new_device_memory(num_bytes)
            launch.capacity_bytes = num_bytes
        assert launch.host is not None, "a capacity has memory"
        assert launch.device is not None, "a capacity has memory"
        return launch.host, launch.device

    def _free(self, launch: _Launch) -> None:
        launch.capacity_bytes = 0
        if launch.device is not None:
            self._driver.free_device_memory(launch.device)
            launch.device = None
        if launch.host is not None:
            self._driver.free_host_memory(launch.host)
            launch.host = None


def _pixels_at(memory: HostAddress, size: Size) -> NDArray[np.uint8]:
    num_bytes = size.width * size.height * BYTES_PER_PIXEL
    flat = np.ctypeslib.as_array((ctypes.c_ubyte * num_bytes).from_address(memory))
    return flat.reshape(size.height, size.width, BYTES_PER_PIXEL)


def _write_bgra(target: NDArray[np.uint8], frame: Frame) -> None:
    """`target` holds the frame as BGRA, bottom row first.

    Here, and not on the card: that would take a kernel of ours in TouchDesigner's context. The
    picture has to be copied to page-locked memory anyway; exchanging two channels on the way makes
    0.6 ms of 0.1 ms at 1280x720 (half of what four channel copies take), once per picture of the
    host. A frame that is BGRA already is only copied.
    """
    pixels: NDArray[Any] = frame.pixels
    if frame.meta.orientation == Orientation.TOP_FIRST:
        pixels = pixels[::-1]
    np.copyto(target, pixels, casting="no")
    if frame.meta.pixel_format != PixelFormat.BGRA8:
        target[..., 0] = pixels[..., 2]
        target[..., 2] = pixels[..., 0]
