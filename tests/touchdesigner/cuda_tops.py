"""TOPs on the made-up card: their CUDA calls as documented, what they leave open at its worst.

* cudaMemory: a new block per call, filled in the order of the stream, gone with its object
  (TOP_Class, CUDAMemory_Class).
* copyCUDAMemory: reads the block in the order of the stream, no sooner (ScriptTOP_Class); 4
  components of uint8 are BGRA (CUDAMemoryShape_Class).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.client.mailbox import Picture
from sdv2_host.types import Frame, FrameMeta, Orientation, PixelFormat
from tests.client.fake_cuda import APP_CONTEXT, Block, FakeCuda
from tests.fake_td import tdError
from tests.fake_td.cuda import CUDAMemoryShape
from tests.touchdesigner.touch_stage import fresh_python

WAITS = {"cuStreamSynchronize"}
ALLOCATES = {"cuMemHostAlloc", "cuMemAlloc_v2", "cuMemFreeHost", "cuMemFree_v2", "cuEventCreate"}


@contextmanager
def importable() -> Iterator[None]:
    """Modules of the component can be imported where no TouchDesigner is: with the little of `td`
    that those for CUDA use. Afterwards they are forgotten, so that others load their own."""
    little = ModuleType("td")
    little.__dict__.update(CUDAMemoryShape=CUDAMemoryShape, tdError=tdError)
    with fresh_python():
        sys.modules["td"] = little
        try:
            yield
        finally:
            del sys.modules["td"]


class Memory:
    """CUDAMemory: the block is freed when this is."""

    def __init__(self, cuda: FakeCuda, block: Block, shape: CUDAMemoryShape) -> None:
        self.ptr, self.size, self.shape = block.address, len(block.buffer), shape
        self._cuda = cuda

    def __del__(self) -> None:
        self._cuda.release(self.ptr)


class PaintedTop:
    """A TOP of one colour, which the test paints over."""

    def __init__(self, cuda: FakeCuda, width: int = 6, height: int = 4) -> None:
        self._cuda = cuda
        self.num_blocks = 0
        self.refusal: Exception | None = None
        self.missing_bytes = 0
        self.paint(0, width, height)

    def paint(self, level: int, width: int | None = None, height: int | None = None) -> None:
        """Every pixel its own: red counts pixels, green is the level; bottom row first."""
        if width is not None and height is not None:
            self.width, self.height = width, height
        self.rgba = painted(level, self.width, self.height)

    def cudaMemory(self, stream: int | None = None, pixelFormat: str | None = None) -> Memory:
        assert pixelFormat == "rgba8fixed"
        if self.refusal is not None:
            raise self.refusal
        self.num_blocks += 1
        bgra = self.rgba[..., [2, 1, 0, 3]].tobytes()
        block = self._cuda.allocate(len(bgra) - self.missing_bytes)

        def fill() -> None:
            ctypes.memmove(block.buffer, bgra, len(block.buffer))

        if stream is None:
            fill()
        else:
            self._cuda.enqueue(stream, fill)  # TouchDesigner's own care
        shape = CUDAMemoryShape()
        shape.width, shape.height, shape.numComps = self.width, self.height, 4
        shape.dataType = np.uint8
        return Memory(self._cuda, block, shape)


class ScreenTop:
    """A Script TOP that keeps what it was shown, as RGBA."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self.num_shown = 0
        self.textures: list[NDArray[np.uint8]] = []
        """What the card really had when the stream came to it."""

        self.addresses: list[int] = []
        self.by_numpy: list[NDArray[np.uint8]] = []
        self.refusal: Exception | None = None

    def copyNumpyArray(self, pixels: NDArray[np.uint8]) -> None:
        self.by_numpy.append(pixels)

    def copyCUDAMemory(self, address: int, size: int, shape: CUDAMemoryShape, stream: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert np.dtype(shape.dataType) == np.uint8
        assert size == shape.width * shape.height * shape.numComps
        assert shape.numComps == 4
        block = self._cuda.device[address]
        height, width = shape.height, shape.width
        self.num_shown += 1
        self.addresses.append(address)

        def read() -> None:
            bgra = np.frombuffer(block.bytes()[:size], np.uint8).reshape(height, width, 4)
            self.textures.append(bgra[..., [2, 1, 0, 3]])

        self._cuda.enqueue(stream, read, block)


class HostCuda(FakeCuda):
    """For the stand-in of TouchDesigner, whose blocks lie in host memory: any address is good."""

    def allocate(self, num_bytes: int) -> Block:
        buffer = ctypes.create_string_buffer(num_bytes)
        block = Block(ctypes.addressof(buffer), buffer, APP_CONTEXT)
        self.device[block.address] = block
        return block

    def _cuPointerGetAttribute(self, out: int, attribute: int, address: int) -> int:
        ctypes.c_void_p.from_address(out).value = APP_CONTEXT
        return 0

    def _cuMemcpyDtoHAsync(self, target: int, source: int, num_bytes: int, stream: int) -> int:
        theirs = Block(source, (ctypes.c_char * num_bytes).from_address(source), APP_CONTEXT)
        return self._copy(self.host.get(target), theirs, num_bytes, stream)


def painted(level: int, width: int, height: int) -> NDArray[np.uint8]:
    """[H, W, 4] RGBA, no two pixels and no two levels alike."""
    rgba = np.empty((height, width, 4), np.uint8)
    rgba[..., 0] = np.arange(height * width).reshape(height, width)
    rgba[..., 1] = level
    rgba[..., 2] = 255 - level
    rgba[..., 3] = 200
    return rgba


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


def frame_of(rgba: NDArray[np.uint8], **meta: Any) -> Frame:
    height, width = rgba.shape[:2]
    told = {"orientation": Orientation.BOTTOM_FIRST, **meta}
    return Frame(FrameMeta(width, height, **told), rgba)


def frame_painted(level: int, width: int = 6, height: int = 4) -> Frame:
    return frame_of(painted(level, width, height))


def screen_shows(screen: ScreenTop, level: int) -> bool:
    texture = screen.textures[-1]
    return np.array_equal(texture, painted(level, texture.shape[1], texture.shape[0]))
