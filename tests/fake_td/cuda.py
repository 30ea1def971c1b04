"""CUDA memory (CUDAMemory_, CUDAMemoryShape_Class). Host memory plays the part of the GPU's."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fake_td.errors import tdError

TYPES = (np.uint8, np.uint16, np.float32)
BGRA = [2, 1, 0, 3]


class CUDAMemoryShape:
    """What a block of CUDA memory holds: uint8 with 4 components is BGRA, all else is RGBA."""

    width: int
    height: int
    numComps: int
    depth: int
    isCube: bool
    is3D: bool
    dataType: Any

    def __init__(self) -> None:
        self.width = 0
        self.height = 0
        self.numComps = 4
        self.depth = 1
        self.isCube = False
        self.is3D = False
        self.dataType: Any = np.uint8

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dataType)

    @property
    def _num_bytes(self) -> int:
        return self.width * self.height * self.numComps * self._dtype.itemsize


class CUDAMemory:
    """A block that lives as long as this object; afterwards its bytes are overwritten."""

    def __init__(self, pixels: NDArray[Any]) -> None:
        self._pixels = np.ascontiguousarray(pixels)
        self._shape = CUDAMemoryShape()
        self._shape.height, self._shape.width, self._shape.numComps = self._pixels.shape
        self._shape.dataType = self._pixels.dtype.type

    @property
    def ptr(self) -> int:
        return int(self._pixels.ctypes.data)

    @property
    def size(self) -> int:
        return self._pixels.nbytes

    @property
    def shape(self) -> CUDAMemoryShape:
        return self._shape

    def __del__(self) -> None:
        if hasattr(self, "_pixels"):
            self._pixels.view(np.uint8)[...] = 0xA5


def as_cuda(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels in the channel order that CUDA memory has for their type."""
    return pixels[..., BGRA] if pixels.dtype == np.uint8 and pixels.shape[2] == 4 else pixels


def read(address: int, size: int, shape: CUDAMemoryShape) -> NDArray[Any]:
    """A copy of the pixels at `address` in the order of a TOP, or tdError."""
    if not isinstance(shape, CUDAMemoryShape):
        raise tdError(f"copyCUDAMemory: shape {shape!r}: expected a CUDAMemoryShape")
    if shape._dtype.type not in TYPES:
        raise tdError(f"copyCUDAMemory: {shape._dtype}: takes uint8, uint16 and float32")
    if shape.isCube or shape.is3D or shape.depth != 1:
        raise tdError("copyCUDAMemory: the stand-in has 2D textures only")
    if shape.width < 1 or shape.height < 1 or not 1 <= shape.numComps <= 4:
        raise tdError(
            f"copyCUDAMemory: {shape.width}x{shape.height}x{shape.numComps}: expected 1 or more"
            " pixels of 1 to 4 components"
        )
    if size != shape._num_bytes:
        raise tdError(f"copyCUDAMemory: size {size}, but the shape needs {shape._num_bytes} bytes")
    if not address:
        raise tdError("copyCUDAMemory: address 0")
    raw = np.frombuffer(ctypes.string_at(address, size), shape._dtype)
    return as_cuda(raw.reshape(shape.height, shape.width, shape.numComps)).copy()
