"""CudaDownload: a TOP's pictures, copied by the card while TouchDesigner goes on."""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import td

from sdv2_host.client.cuda_driver import (
    Context,
    CudaDriver,
    DeviceAddress,
    Event,
    HostAddress,
    Stream,
)
from sdv2_host.client.mailbox import Picture
from sdv2_host.clock import now_ns
from sdv2_host.types import PixelFormat, Size
from sdv2_touch.cuda_path import (
    BYTES_PER_PIXEL,
    PIXEL_FORMAT_NAME,
    CudaPathError,
    ends_the_path,
    has_settled,
    refusal_ends_the_path,
)
from sdv2_touch.transfer import STALE_NS

NUM_LANDINGS = 4
"""One is published, one waits for that, one is handed out next, one is landed in."""

NO_SIZE = Size(0, 0)


@dataclass(slots=True)
class _Landing:
    """Page-locked memory that pictures of the card land in, one after the other."""

    event: Event
    """Done = the picture landed. Recorded per picture."""
    memory: HostAddress | None = None
    capacity_bytes: int = 0
    block: td.CUDAMemory | None = None
    """What is copied from; None = no copy is in flight. The memory lives as long as this object
    (CUDAMemory_Class). Dropping it at the next cook, done or not, is how forkni/cuda-link 1.10.0
    got CUDA_ERROR_LAUNCH_FAILED out of a busy card."""
    size: Size = NO_SIZE
    capture_ts_ns: int = 0
    lease: weakref.ref[ctypes.Array[ctypes.c_ubyte]] | None = None
    """Alive as long as anybody holds an array of the picture that was handed out."""

    def leased(self) -> ctypes.Array[ctypes.c_ubyte] | None:
        return None if self.lease is None else self.lease()

    def is_idle(self) -> bool:
        return self.block is None and self.leased() is None


class CudaDownload:
    """Pictures of a TOP, as 8 bit BGRA, bottom row first. For TouchDesigner's main thread.

    A picture that was handed out stays untouched for as long as anybody holds its array: its
    memory is landed in again when the last reference is gone, on whichever thread that happens.
    """

    def __init__(
        self, driver: CudaDriver, context: Context, clock: Callable[[], int] = now_ns
    ) -> None:
        self._driver = driver
        self._context = context
        self._clock = clock
        with ends_the_path(), driver.current(context):
            self._stream: Stream = driver.new_stream()
        self._landings: list[_Landing] = []
        """Per session; up to NUM_LANDINGS, made when first needed."""
        self._in_flight: deque[_Landing] = deque()
        """Oldest first, as the stream does them."""

    def fetch(self, top: td.TOP) -> Picture | None:
        """The newest picture that landed; None = none did since the last call, or long ago.

        Also begins to copy `top` as it is now, unless all memory is in use: then this frame is
        left out, as the host could not keep up with it anyway.

        Raises:
            CudaPathError: see there; only `close` is of use afterwards.
        """
        with ends_the_path(), self._driver.current(self._context):
            landed = self._newest_landed()
            picture = None
            if landed is not None and self._clock() - landed.capture_ts_ns <= STALE_NS:
                picture = self._lend(landed)
            landing = self._idle_landing()
        if landing is not None:
            with refusal_ends_the_path():
                block = top.cudaMemory(stream=self._stream, pixelFormat=PIXEL_FORMAT_NAME)
            with ends_the_path(), self._driver.current(self._context):
                self._begin(landing, block)
        return picture

    def close(self) -> None:
        """Everything is freed; a picture that somebody holds, when it is let go. Waits for copies.

        Nothing is freed of a context that is lost.
        """
        if has_settled(self._driver, self._context, self._stream):
            with self._driver.current(self._context):
                for landing in self._landings:
                    self._driver.free_event(landing.event)
                    self._free_when_let_go(landing)
                self._driver.free_stream(self._stream)
        self._in_flight.clear()
        self._landings.clear()  # and with them TouchDesigner's blocks

    def _newest_landed(self) -> _Landing | None:
        newest = None
        while self._in_flight and self._driver.is_done(self._in_flight[0].event):
            newest = self._in_flight.popleft()
            newest.block = None
        return newest

    def _lend(self, landing: _Landing) -> Picture:
        assert landing.memory is not None, "it was landed in"
        width, height = landing.size
        lease = (ctypes.c_ubyte * (width * height * BYTES_PER_PIXEL)).from_address(landing.memory)
        landing.lease = weakref.ref(lease)
        pixels = np.ctypeslib.as_array(lease).reshape(height, width, BYTES_PER_PIXEL)
        return Picture(pixels, PixelFormat.BGRA8, capture_ts_ns=landing.capture_ts_ns)

    def _idle_landing(self) -> _Landing | None:
        for landing in self._landings:
            if landing.is_idle():
                return landing
        if len(self._landings) == NUM_LANDINGS:
            return None
        self._landings.append(_Landing(self._driver.new_event()))
        return self._landings[-1]

    def _begin(self, landing: _Landing, block: td.CUDAMemory) -> None:
        size = _size_of(block)
        memory = self._fitting_memory(landing, block.size)
        landing.size = size
        landing.capture_ts_ns = self._clock()
        landing.block = block  # first: from here on the copy may be in flight
        self._driver.begin_download(memory, DeviceAddress(block.ptr), block.size, self._stream)
        self._driver.record(landing.event, self._stream)
        self._in_flight.append(landing)

    def _fitting_memory(self, landing: _Landing, num_bytes: int) -> HostAddress:
        if landing.memory is not None and num_bytes <= landing.capacity_bytes:
            return landing.memory
        if landing.memory is not None:
            self._driver.free_host_memory(landing.memory)
            landing.memory = None  # also if there is no more
        landing.memory = self._driver.new_host_memory(num_bytes)
        landing.capacity_bytes = num_bytes
        return landing.memory

    def _free_when_let_go(self, landing: _Landing) -> None:
        if landing.memory is None:
            return
        lease = landing.leased()
        if lease is None:
            self._driver.free_host_memory(landing.memory)
        else:
            # In whichever thread lets go last: a context can be current in several.
            let_go = weakref.finalize(lease, self._free_host_memory, landing.memory)
            let_go.atexit = False  # by then the driver may be gone, and so is the process

    def _free_host_memory(self, memory: HostAddress) -> None:
        with self._driver.current(self._context):
            self._driver.free_host_memory(memory)


def _size_of(block: td.CUDAMemory) -> Size:
    size = Size(block.shape.width, block.shape.height)
    expected = size.width * size.height * BYTES_PER_PIXEL
    # By its bytes: the shape's data type is not to be relied on, as forkni/cuda-link found.
    if block.size != expected:
        raise CudaPathError(
            f"TouchDesigner gave {block.size} bytes of CUDA memory for a picture of {size}, "
            f"expected {expected} for {PIXEL_FORMAT_NAME}"
        )
    return size
