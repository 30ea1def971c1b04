"""Pictures (TOP_Class). Row 0 is the bottom row; components are red, green, blue, alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tests.fake_td import cuda
from tests.fake_td.components import COMP
from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.operators import OP
from tests.fake_td.scripts import Scripted

if TYPE_CHECKING:
    from tests.fake_td.session import TouchDesigner

PICTURE_TYPES = (np.uint8, np.uint16, np.float32)
FORMATS = {np.uint8: "rgba8fixed", np.uint16: "rgba16fixed", np.float32: "rgba32float"}
CUDA_FORMATS = {name: dtype for dtype, name in FORMATS.items()}


class TOP(OP):
    """A TOP: `_picture` is its texture [h, w, 4]; `_asked` what the last delayed request saw."""

    _family: ClassVar[str] = "TOP"

    def __init__(self, td: TouchDesigner, parent: COMP | None, name: str) -> None:
        super().__init__(td, parent, name)
        self._picture: NDArray[Any] = np.zeros((256, 256, 4), np.uint8)
        self._as_float: tuple[NDArray[Any], NDArray[np.float32]] | None = None
        self._asked: NDArray[Any] | None = None

    @property
    def width(self) -> int:
        return int(self._looked_at().shape[1])

    @property
    def height(self) -> int:
        return int(self._looked_at().shape[0])

    @property
    def aspect(self) -> float:
        return self.width / self.height

    @property
    def depth(self) -> int:
        return 1

    @property
    def gpuMemory(self) -> int:
        return int(self._looked_at().nbytes)

    @property
    def pixelFormat(self) -> str:
        return self.pixelFormatName

    @property
    def pixelFormatName(self) -> str:
        return FORMATS[self._looked_at().dtype.type]

    def numpyArray(
        self, delayed: bool = False, writable: bool = False
    ) -> NDArray[np.float32] | None:
        with self._td._meter.apart():
            shown = self._looked_at()
            picture = shown
            if delayed:
                picture, self._asked = self._asked, shown  # type: ignore[assignment]
            if picture is None:
                return None
            result = self._floats(picture).copy()
            result.flags.writeable = writable
            return result

    def cudaMemory(
        self, stream: int | None = None, pixelFormat: str | None = None
    ) -> cuda.CUDAMemory:
        with self._td._meter.apart():
            self._td._check_cuda()
            name = self.pixelFormatName if pixelFormat is None else pixelFormat
            if name not in CUDA_FORMATS:
                raise tdError(
                    f"{self._path()}.cudaMemory(pixelFormat={name!r}): the stand-in has"
                    f" {sorted(CUDA_FORMATS)}"
                )
            return cuda.CUDAMemory(cuda.as_cuda(_converted(self._looked_at(), CUDA_FORMATS[name])))

    def sample(
        self,
        x: float | None = None,
        y: float | None = None,
        z: float | None = None,
        u: float | None = None,
        v: float | None = None,
        w: float | None = None,
    ) -> tuple[float, float, float, float]:
        if (
            z is not None
            or w is not None
            or (x is None) == (u is None)
            or (y is None) == (v is None)
        ):
            raise tdError("sample: one of x and u, one of y and v")
        picture = self._floats(self._looked_at())
        col = int(x if x is not None else (u or 0) * (picture.shape[1] - 1))
        row = int(y if y is not None else (v or 0) * (picture.shape[0] - 1))
        red, green, blue, alpha = (float(one) for one in picture[row, col])
        return (red, green, blue, alpha)

    def _looked_at(self) -> NDArray[Any]:
        """The texture, cooked first: the operator is not passive (OP_Class, `passive`)."""
        with self._td._meter.apart():
            self._demand()
        return self._picture

    def _floats(self, picture: NDArray[Any]) -> NDArray[np.float32]:
        if self._as_float is None or self._as_float[0] is not picture:
            self._as_float = (picture, _converted(picture, np.float32))
        return self._as_float[1]

    def _show(self, picture: NDArray[Any]) -> None:
        """The texture is `picture` from now on; nobody writes to it any more."""
        self._picture = picture


class PassingTOP(TOP):
    """A TOP that shows the first of its sources."""

    _num_inputs: ClassVar[int] = 1

    def _cook(self) -> None:
        source = self._chosen()
        if isinstance(source, TOP):
            self._picture = source._picture

    def _chosen(self) -> OP | None:
        return next(iter(self._sources()), None)


class nullTOP(PassingTOP):
    """Null_TOP."""


class outTOP(PassingTOP):
    """Out_TOP."""


class inTOP(PassingTOP):
    """In_TOP: shows what is wired to the component, or its own input as a default."""

    def _sources(self) -> list[OP]:
        assert self._parent is not None, "only components are roots"
        index = next((one.index for one in self._parent.inputConnectors if one.inOP is self), None)
        wire = self._parent._wires.get(index) if index is not None else None
        return super()._sources() if wire is None else [wire[0]._behind(wire[1])]


class selectTOP(PassingTOP):
    """Select_TOP."""

    def _sources(self) -> list[OP]:
        found = self._pars["top"].eval()
        return [] if found is None else [found]


class switchTOP(PassingTOP):
    """Switch_TOP, without blending."""

    _num_inputs: ClassVar[int] = 9

    def _chosen(self) -> OP | None:
        if self._pars["blend"]._current() or self._pars["extend"]._current() != "clamp":
            raise NotModelled("Switch TOP with blend, or another extend than clamp")
        sources = self._sources()
        at = min(max(int(self._pars["index"]._current()), 0), len(sources) - 1)
        return sources[at] if sources else None


class overTOP(TOP):
    """Over_TOP, for two pictures of one size."""

    _num_inputs: ClassVar[int] = 2

    def _cook(self) -> None:
        layers = [one for one in self._sources() if isinstance(one, TOP)]
        if len(layers) < 2:
            self._picture = layers[0]._picture if layers else self._picture
            return
        over, under = (one._floats(one._picture) for one in layers)
        if over.shape != under.shape:
            raise NotModelled("Over TOP of two sizes")
        self._picture = over + under * (1 - over[..., 3:])


class textTOP(TOP):
    """Text_TOP: has its background colour and size; draws no letters."""

    _num_inputs: ClassVar[int] = 1

    def _cook(self) -> None:
        source = next(iter(self._sources()), None)
        if self._pars["compoverinput"]._current() and isinstance(source, TOP):
            self._picture = source._picture
            return
        self._picture = _plain(self, [f"bgcolor{letter}" for letter in "rgb"] + ["bgalpha"])


class constantTOP(TOP):
    """Constant_TOP."""

    def _cook(self) -> None:
        self._picture = _plain(self, ["colorr", "colorg", "colorb", "alpha"])


class moviefileinTOP(TOP):
    """Movie_File_In_TOP: reads no file, shows what session.show gives it."""


class scriptTOP(TOP, Scripted):
    """Script_TOP."""

    _num_inputs: ClassVar[int] = 9

    def copyNumpyArray(
        self, numpyArray: NDArray[Any], is3D: bool = False, isCube: bool = False
    ) -> None:
        with self._td._meter.apart():
            self._check_may_write("copyNumpyArray")
            if is3D or isCube:
                raise NotModelled("copyNumpyArray of a 3D or cube texture")
            _check_array(numpyArray)
            self._take(numpyArray, "copyNumpyArray")

    def copyCUDAMemory(
        self, address: int, size: int, shape: cuda.CUDAMemoryShape, stream: int | None = None
    ) -> None:
        with self._td._meter.apart():
            self._check_may_write("copyCUDAMemory")
            self._td._check_cuda()
            self._take(cuda.read(address, size, shape), "copyCUDAMemory")

    def _take(self, pixels: NDArray[Any], what: str) -> None:
        limit = self._td.resolution_limit_px
        height, width = pixels.shape[:2]
        if limit is not None and (width > limit[0] or height > limit[1]):
            raise tdError(
                f"{self._path()}.{what}: {width}x{height} is more than this licence's"
                f" {limit[0]}x{limit[1]}"
            )
        self._picture = _four_components(pixels)
        self._written()


def _check_array(pixels: Any) -> None:
    if not isinstance(pixels, np.ndarray):
        raise tdError(f"copyNumpyArray: expected a NumPy array, not {type(pixels).__name__}")
    if pixels.dtype.type not in PICTURE_TYPES or not pixels.dtype.isnative:
        raise tdError(f"copyNumpyArray: {pixels.dtype}: takes uint8, uint16 and float32")
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise tdError(f"copyNumpyArray: shape {pixels.shape}: expected (h, w, 1 to 4)")
    if not pixels.flags.c_contiguous:
        raise tdError("copyNumpyArray: the array is not C-contiguous")


def _four_components(pixels: NDArray[Any]) -> NDArray[Any]:
    """A copy with four components: one is grey, the missing are 0, a missing alpha is full."""
    count = pixels.shape[2]
    if count == 4:
        return pixels.copy()
    full = 1.0 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
    result = np.zeros((*pixels.shape[:2], 4), pixels.dtype)
    result[..., : 3 if count == 1 else count] = pixels
    result[..., 3] = full
    return result


def _converted(picture: NDArray[Any], dtype: Any) -> NDArray[Any]:
    if picture.dtype == dtype:
        return picture
    floats = picture if picture.dtype == np.float32 else _unit(picture)
    if dtype is np.float32:
        return floats
    most = np.iinfo(dtype).max
    return (np.clip(floats, 0, 1) * most + 0.5).astype(dtype)


def _unit(picture: NDArray[Any]) -> NDArray[np.float32]:
    scale = np.float32(np.iinfo(picture.dtype).max)
    result: NDArray[np.float32] = picture.astype(np.float32) / scale
    return result


def _plain(top: TOP, colour_pars: list[str]) -> NDArray[Any]:
    """One colour in the operator's own resolution."""
    is_custom = top._pars["outputresolution"]._current() == "custom"
    width, height = (
        int(top._pars[name]._current()) if is_custom else 256
        for name in ("resolutionw", "resolutionh")
    )
    colour = np.array([top._pars[name]._current() for name in colour_pars], np.float32)
    return np.broadcast_to(colour, (height, width, 4)).copy()
