"""TOPs and CUDA memory. Pages named in comments are on docs.derivative.ca."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from td._op import OP
from td._pars import Page

class CUDAMemoryShape:  # CUDAMemoryShape_Class: uint8 with 4 components is BGRA, the rest is RGBA
    width: int
    height: int
    numComps: int
    depth: int
    isCube: bool
    is3D: bool
    dataType: DTypeLike
    def __init__(self) -> None: ...

class CUDAMemory:  # CUDAMemory_Class: the memory lives as long as this object
    @property
    def ptr(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def shape(self) -> CUDAMemoryShape: ...

class TOP(OP):  # TOP_Class
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def aspect(self) -> float: ...
    @property
    def depth(self) -> int: ...
    @property
    def gpuMemory(self) -> int: ...
    @property
    def pixelFormat(self) -> str: ...
    @property
    def pixelFormatName(self) -> str: ...
    # [h, w, components], always floating point; None only if delayed
    def numpyArray(
        self, delayed: bool = False, writable: bool = False
    ) -> NDArray[np.float32] | None: ...
    # `pixelFormat` since build 2025.32050 (Release_Notes)
    def cudaMemory(
        self, stream: int | None = None, pixelFormat: str | None = None
    ) -> CUDAMemory: ...
    def sample(
        self,
        x: float | None = None,
        y: float | None = None,
        z: float | None = None,
        u: float | None = None,
        v: float | None = None,
        w: float | None = None,
    ) -> tuple[float, float, float, float]: ...

class scriptTOP(TOP):  # ScriptTOP_Class: copy* in its onCook, or with par.modoutsidecook on
    def copyNumpyArray(
        self, numpyArray: NDArray[Any], is3D: bool = False, isCube: bool = False
    ) -> None: ...
    def copyCUDAMemory(
        self, address: int, size: int, shape: CUDAMemoryShape, stream: int | None = None
    ) -> None: ...
    def appendCustomPage(self, name: str) -> Page: ...
    def destroyCustomPars(self) -> int: ...
    def sortCustomPages(self, *pages: str) -> None: ...

class inTOP(TOP): ...  # In_TOP
class outTOP(TOP): ...  # Out_TOP
class nullTOP(TOP): ...  # Null_TOP
class selectTOP(TOP): ...  # Select_TOP
class switchTOP(TOP): ...  # Switch_TOP
class overTOP(TOP): ...  # Over_TOP
class textTOP(TOP): ...  # Text_TOP
class constantTOP(TOP): ...  # Constant_TOP
class moviefileinTOP(TOP): ...  # Movie_File_In_TOP
