"""TouchDesigner's own Shared Mem In and Out TOP: names and bytes. No I/O.

For its licences that have these TOPs, with Shared Mem Type 'Local'. A sender makes four objects of
Windows for a Shared Mem Name, and whoever reads it opens them:

    TouchSHM<name><postfix>                   data: header, then the pixels
    TouchSHM<name>Mutex                       its lock, which no postfix changes
    TouchSHMTouchSHM<name>4jhd783h            info: what postfix the data has now
    TouchSHMTouchSHM<name>4jhd783hMutex       its lock

    data header           info
     0 u32 magic           0 u32 magic
     4 u32 version         4 u32 version
     8 i32 width           8 u8  supported: a reader that looks here has come
    12 i32 height         10 u16[32] postfix, UTF-16, '' at first, other letters for a larger size
    16 f32 aspect x       74 u8  detach: the sender is leaving (from version 2 on)
    20 f32 aspect y       76
    24 u32 pixel format
    32 i64 bytes of pixels
    40 i32 offset of the pixels; version 1 has 48 bytes
    44 u32 gamut (version 2)
    48 u32 transfer (version 2, which has 56 bytes)

Rows are tightly packed, the bottom one first. There is no frame number and no time.

Sources, studied for the facts: docs.derivative.ca "Write a Shared Memory TOP" and "Using Shared
Memory in TouchDesigner"; Samples/SharedMem of a TouchDesigner installation, as others describe it.
Two who read TouchDesigner's own Out TOP found the info under the doubled prefix; one who only
writes has it once, so both are looked at. The row order is what a reader of an Out TOP found. None
of it was run against TouchDesigner here.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sdv2_host.errors import RingError
from sdv2_host.types import PixelFormat

DATA_MAGIC = 0xD95EF835
GL_MAGIC = 0xE95DF673
"""Of TouchDesigner until 2021, whose header has another layout."""
INFO_MAGIC = 0x56ED34BA
INFO_VERSION = 2
MAX_VERSION = 255
"""New members come behind those of the table, so newer headers are read as version 2."""
MAX_SIDE_PX = 16384

_CORE = struct.Struct("<IIiiffI4xqi")
_COLOUR = struct.Struct("<II4x")
_INFO = struct.Struct("<IIBx64sBx")
HEADER_BYTES = {1: 48, 2: _CORE.size + _COLOUR.size}
"""By version; where the pixels begin unless a sender leaves more room."""
MAX_HEADER_BYTES = HEADER_BYTES[2]
INFO_BYTES = _INFO.size
SUPPORTED_OFFSET = 8
DETACH_OFFSET = 74

POSTFIX_CHARS = 31
_POSTFIX = re.compile(rf"[A-Za-z0-9_-]{{0,{POSTFIX_CHARS}}}")
_PREFIX = "TouchSHM"
_INFO_MARK = "4jhd783h"

MAX_NAME_CHARS = 31
"""macOS allows no longer names of shared memory; a name that works here works there."""


def data_name(name: str, postfix: str = "") -> str:
    """Of the mapping with the pixels."""
    return f"{_PREFIX}{name}{postfix}"


def info_names(name: str) -> tuple[str, str]:
    """Of the mapping that tells the postfix: as TouchDesigner has it, and as it is also found."""
    return f"{_PREFIX}{_PREFIX}{name}{_INFO_MARK}", f"{_PREFIX}{name}{_INFO_MARK}"


def lock_name(memory_name: str) -> str:
    """Of the mutex that belongs to a mapping (to the data without a postfix)."""
    return f"{memory_name}Mutex"


class TouchFormat(NamedTuple):
    """One pixel format of a data header."""

    title: str
    """As the parameter Pixel Format of a TOP has it."""
    dtype: np.dtype[np.generic]
    channels: int
    ring: PixelFormat | None
    """As which a ring carries the bytes unchanged; None = it has nothing of the kind."""

    @property
    def bytes_per_pixel(self) -> int:
        return self.dtype.itemsize * self.channels


def _format(
    title: str, dtype: DTypeLike, channels: int, ring: PixelFormat | None = None
) -> TouchFormat:
    return TouchFormat(title, np.dtype(dtype), channels, ring)


FORMATS: dict[int, TouchFormat] = {
    # Numbers of VkFormat.
    9: _format("8-bit fixed (Mono)", np.uint8, 1, PixelFormat.R8),
    16: _format("8-bit fixed (RG)", np.uint8, 2),
    37: _format("8-bit fixed (RGBA)", np.uint8, 4, PixelFormat.RGBA8),
    43: _format("sRGB 8-bit fixed (RGBA)", np.uint8, 4, PixelFormat.RGBA8_SRGB),
    44: _format("8-bit fixed (BGRA)", np.uint8, 4, PixelFormat.BGRA8),
    50: _format("sRGB 8-bit fixed (BGRA)", np.uint8, 4, PixelFormat.BGRA8),
    64: _format("10-bit RGB, 2-bit Alpha, fixed (RGBA)", np.uint32, 1),
    70: _format("16-bit fixed (Mono)", np.uint16, 1),
    76: _format("16-bit float (Mono)", np.float16, 1),
    77: _format("16-bit fixed (RG)", np.uint16, 2),
    83: _format("16-bit float (RG)", np.float16, 2),
    91: _format("16-bit fixed (RGBA)", np.uint16, 4, PixelFormat.RGBA16),
    97: _format("16-bit float (RGBA)", np.float16, 4, PixelFormat.RGBA16F),
    100: _format("32-bit float (Mono)", np.float32, 1),
    103: _format("32-bit float (RG)", np.float32, 2),
    109: _format("32-bit float (RGBA)", np.float32, 4, PixelFormat.RGBA32F),
    122: _format("11-bit float (RGB)", np.uint32, 1),
    # TouchDesigner's own.
    0xF0001: _format("8-bit fixed (A)", np.uint8, 1),
    0xF0002: _format("16-bit fixed (A)", np.uint16, 1),
    0xF0003: _format("16-bit float (A)", np.float16, 1),
    0xF0004: _format("32-bit float (A)", np.float32, 1),
    0xF0005: _format("8-bit fixed (Mono+Alpha)", np.uint8, 2),
    0xF0006: _format("16-bit fixed (Mono+Alpha)", np.uint16, 2),
    0xF0007: _format("16-bit float (Mono+Alpha)", np.float16, 2),
    0xF0008: _format("32-bit float (Mono+Alpha)", np.float32, 2),
}
"""All that TouchDesigner lists."""


@dataclass(frozen=True, slots=True)
class TouchHeader:
    """What a data mapping says of its picture."""

    width: int
    height: int
    pixel_format: int
    """A key of FORMATS."""
    version: int = 1
    """1: every TouchDesigner since 2022 reads it. What is behind it is told by 2."""
    data_offset: int = HEADER_BYTES[1]
    aspect_x: float = 1.0
    aspect_y: float = 1.0
    gamut: int = 0
    transfer: int = 0

    @property
    def data_bytes(self) -> int:
        return self.width * self.height * FORMATS[self.pixel_format].bytes_per_pixel

    @property
    def ring_format(self) -> PixelFormat:
        """As which a ring carries the picture.

        Raises:
            RingError: it cannot; what to set in TouchDesigner.
        """
        found = FORMATS[self.pixel_format]
        if found.ring is None:
            raise RingError(
                f"Pixel Format is {found.title}, which cannot be styled; on the Common page of the "
                "Shared Mem Out TOP set Pixel Format to 8-bit fixed (RGBA)"
            )
        return found.ring


def pack_header(header: TouchHeader) -> bytes:
    """As many bytes as its version has."""
    core = _CORE.pack(
        DATA_MAGIC,
        header.version,
        header.width,
        header.height,
        header.aspect_x,
        header.aspect_y,
        header.pixel_format,
        header.data_bytes,
        header.data_offset,
    )
    if header.version == 1:
        return core + bytes(HEADER_BYTES[1] - len(core))
    return core + _COLOUR.pack(header.gamut, header.transfer)


def parse_header(raw: bytes, mapping_bytes: int) -> TouchHeader:
    """What a private copy of the first MAX_HEADER_BYTES says, checked: the pixels lie in the
    mapping.

    Raises:
        RingError: it cannot be trusted; what is wrong, and what was found.
    """
    if len(raw) < _CORE.size:
        raise RingError(f"the mapping has {mapping_bytes} bytes, too few for a header")
    magic, version, width, height, aspect_x, aspect_y, code, data_bytes, offset = _CORE.unpack_from(
        raw
    )
    _check_identity(magic, version)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise RingError(f"size {width}x{height}, expected sides of 1 to {MAX_SIDE_PX} px")
    if code not in FORMATS:
        raise RingError(
            f"pixel format {code} is none that TouchDesigner lists; set Pixel Format of the Shared "
            "Mem Out TOP to 8-bit fixed (RGBA)"
        )
    if not all(math.isfinite(aspect) and aspect > 0 for aspect in (aspect_x, aspect_y)):
        raise RingError(f"aspect {aspect_x}:{aspect_y}, expected two numbers above 0")
    gamut, transfer = 0, 0
    if version > 1:
        if len(raw) < MAX_HEADER_BYTES:
            raise RingError(f"the mapping has {mapping_bytes} bytes, too few for a header")
        gamut, transfer = _COLOUR.unpack_from(raw, _CORE.size)
    header = TouchHeader(width, height, code, version, offset, aspect_x, aspect_y, gamut, transfer)
    if data_bytes != header.data_bytes:
        raise RingError(
            f"{data_bytes} bytes of pixels for {width}x{height} {FORMATS[code].title}, expected "
            f"{header.data_bytes}"
        )
    if offset < HEADER_BYTES[min(version, 2)] or offset + data_bytes > mapping_bytes:
        raise RingError(
            f"{data_bytes} bytes of pixels at {offset} do not lie behind the header in the "
            f"{mapping_bytes} bytes that are shared"
        )
    return header


def _check_identity(magic: int, version: int) -> None:
    if magic == GL_MAGIC:
        raise RingError(
            "written by TouchDesigner 2021 or older; the layout read here is that of 2022 and newer"
        )
    if magic != DATA_MAGIC:
        raise RingError(f"begins with {magic:#010x}, which is no picture of a Shared Mem Out TOP")
    if not 1 <= version <= MAX_VERSION:
        raise RingError(f"header version {version}, expected 1 or 2")


@dataclass(frozen=True, slots=True)
class TouchInfo:
    """What an info mapping says."""

    postfix: str = ""
    is_supported: bool = False
    """A reader that follows the postfix has come, at some time."""
    is_detached: bool = False
    """The sender is leaving: let go of everything."""


def pack_info(info: TouchInfo) -> bytes:
    postfix = info.postfix.encode("utf-16-le")
    return _INFO.pack(INFO_MAGIC, INFO_VERSION, info.is_supported, postfix, info.is_detached)


def parse_info(raw: bytes) -> TouchInfo:
    """What a private copy of the first INFO_BYTES says, checked: the postfix can be a name's.

    Raises:
        RingError: it cannot be trusted.
    """
    if len(raw) < INFO_BYTES:
        raise RingError(f"an info mapping of {len(raw)} bytes, expected {INFO_BYTES}")
    magic, version, supported, encoded, detach = _INFO.unpack_from(raw)
    if magic != INFO_MAGIC:
        raise RingError(f"begins with {magic:#010x}, which is no info of a Shared Mem TOP")
    postfix = encoded.decode("utf-16-le", errors="replace").partition("\0")[0]
    if not _POSTFIX.fullmatch(postfix):
        raise RingError(f"postfix {postfix!r:.80}, expected up to {POSTFIX_CHARS} letters")
    return TouchInfo(postfix, bool(supported), version > 1 and bool(detach))
