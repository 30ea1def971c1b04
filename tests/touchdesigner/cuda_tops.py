"""TOPs on the made-up card: their CUDA calls as documented, what they leave open at its worst.

* cudaMemory: a new block per call, filled in the order of the stream, gone with its object
  (TOP_Class, CUDAMemory_Class).
* copyCUDAMemory: reads the block in the order of the stream, no sooner (ScriptTOP_Class); 4
  components of uint8 are BGRA (CUDAMemoryShape_Class).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.client.fake_cuda import Block, FakeCuda


class Shape:
    """CUDAMemoryShape."""

    def __init__(self) -> None:
        self.width = self.height = self.numComps = 0
        self.dataType: Any = None


class Memory:
    """CUDAMemory: the block is freed when this is."""

    def __init__(self, cuda: FakeCuda, block: Block, shape: Shape) -> None:
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
        shape = Shape()
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

    def copyCUDAMemory(self, address: int, size: int, shape: Shape, stream: int) -> None:
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


def painted(level: int, width: int, height: int) -> NDArray[np.uint8]:
    """[H, W, 4] RGBA, no two pixels and no two levels alike."""
    rgba = np.empty((height, width, 4), np.uint8)
    rgba[..., 0] = np.arange(height * width).reshape(height, width)
    rgba[..., 1] = level
    rgba[..., 2] = 255 - level
    rgba[..., 3] = 200
    return rgba
