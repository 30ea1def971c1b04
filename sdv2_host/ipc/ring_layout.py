"""The bytes of a frame ring, ABI 1.0 ("LFRING01"): offsets and sizes. No I/O.

`plugins/include/sdv2_ring.h` is the same table in C; a test compares the two. Little-endian,
64-bit, every shared word 8-byte aligned (an aligned 8-byte store is one instruction: no tearing).

    segment = header (4096 B) + slot_count slots, each slot_stride bytes
    slot    = header (128 B) + payload, at slots_offset + (frame % slot_count) * slot_stride

    slot lock word: 2f-1 while frame f is being written, 2f when it is stable. Publication order:
    lock = 2f-1, fence, payload and header, fence, lock = 2f, fence, publish_seq = f.

`ring_codec` reads and writes the headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sdv2_host.errors import RingError
from sdv2_host.types import PixelFormat

MAGIC = b"LFRING01"
ABI_MAJOR, ABI_MINOR = 1, 0
ENDIAN_TAG = 0x01020304
READY = 0x5244595F3152464C
"""The bytes "LFR1_YDR": written last at creation, so a half-made segment is never trusted."""
FLAG_REAL_BARRIERS = 1
STATE_LIVE, STATE_SUPERSEDED, STATE_CLOSED = 1, 2, 3
CLOCK_PERF_COUNTER = 1

SEGMENT_HEADER_BYTES = 4096
SLOT_HEADER_BYTES = 128
PAGE_BYTES = 4096
MIN_SLOTS, MAX_SLOTS = 2, 64
MAX_SEGMENT_BYTES = 2 << 30
MAX_SIDE_PX = 16384
MAX_STREAM_NAME = 48

SEGMENT_FIELDS: dict[str, tuple[int, int]] = {
    "magic": (0x000, 8),
    "abi_major": (0x008, 2),
    "abi_minor": (0x00A, 2),
    "header_bytes": (0x00C, 4),
    "endian_tag": (0x010, 4),
    "flags": (0x014, 4),
    "segment_bytes": (0x018, 8),
    "generation": (0x020, 8),
    "uuid": (0x028, 16),
    "ready": (0x038, 8),
    "slot_count": (0x040, 4),
    "slot_header_bytes": (0x044, 4),
    "slot_stride": (0x048, 8),
    "slots_offset": (0x050, 8),
    "slot_capacity": (0x058, 8),
    "clock_id": (0x060, 4),
    "reserved0": (0x064, 4),
    "reserved1": (0x068, 8),
    "created_unix_ns": (0x070, 8),
    "writer_pid": (0x078, 4),
    "reserved2": (0x07C, 4),
    "writer_start": (0x080, 8),
    "stream": (0x088, 64),
    "reserved3": (0x0C8, 56),
    "publish_seq": (0x100, 8),
    "heartbeat_ns": (0x108, 8),
    "state": (0x110, 8),
    "reserved4": (0x118, 40),
    "bell": (0x140, 4),
    "reserved5": (0x144, 60),
    "clock_perf_ns": (0x180, 8),
    "clock_unix_ns": (0x188, 8),
    "reserved6": (0x190, 112),
    "reserved7": (0x200, 0x600),
    "gpu_ext": (0x800, 64),
    "gpu_slots": (0x840, 1024),
    "reserved8": (0xC40, 0x3C0),
}
"""name: (offset, bytes) in the segment header; no gaps, 4096 bytes in all."""

SLOT_FIELDS: dict[str, tuple[int, int]] = {
    "lock": (0x00, 8),
    "frame": (0x08, 8),
    "payload_bytes": (0x10, 8),
    "row_stride": (0x18, 8),
    "width": (0x20, 4),
    "height": (0x24, 4),
    "pixel_format": (0x28, 4),
    "alpha": (0x2C, 1),
    "orientation": (0x2D, 1),
    "primaries": (0x2E, 1),
    "transfer": (0x2F, 1),
    "matrix": (0x30, 1),
    "full_range": (0x31, 1),
    "flags": (0x32, 2),
    "dropped_before": (0x34, 4),
    "capture_ts_ns": (0x38, 8),
    "publish_ts_ns": (0x40, 8),
    "source_frame": (0x48, 8),
    "source_capture_ts_ns": (0x50, 8),
    "user_tag": (0x58, 8),
    "crc32c": (0x60, 4),
    "wait_us": (0x64, 4),
    "present_ts_ns": (0x68, 8),
    "encode_us": (0x70, 4),
    "denoise_us": (0x74, 4),
    "decode_us": (0x78, 4),
    "upload_16us": (0x7C, 2),
    "download_16us": (0x7E, 2),
}
"""name: (offset, bytes) in a slot header; no gaps, 128 bytes in all.

Stage times are `types.StageTimes`: 0 = not told, which is what writers of other frames leave there;
a time too long for its field is the longest that the field holds, 71 minutes and, where a unit is
16 microseconds, one second.
"""

UPLOAD_UNIT_US = 16
"""Of `upload_16us` and `download_16us`."""

# Indices of the hot words when the segment is seen as 64-bit words.
PUBLISH_SEQ_WORD = SEGMENT_FIELDS["publish_seq"][0] // 8
HEARTBEAT_WORD = SEGMENT_FIELDS["heartbeat_ns"][0] // 8
STATE_WORD = SEGMENT_FIELDS["state"][0] // 8
READY_WORD = SEGMENT_FIELDS["ready"][0] // 8
BELL_OFFSET = SEGMENT_FIELDS["bell"][0]

SLOT_BODY_OFFSET = 8
"""Where the header after the lock word begins."""


class PixelLayout(NamedTuple):
    """How one pixel of a format lies in memory."""

    dtype: np.dtype[np.generic]
    channels: int

    @property
    def bytes_per_pixel(self) -> int:
        return self.dtype.itemsize * self.channels


def _layout(dtype: DTypeLike, channels: int) -> PixelLayout:
    return PixelLayout(np.dtype(dtype), channels)


PIXEL_LAYOUTS: dict[PixelFormat, PixelLayout] = {
    PixelFormat.R8: _layout(np.uint8, 1),
    PixelFormat.RGBA8: _layout(np.uint8, 4),
    PixelFormat.RGBA8_SRGB: _layout(np.uint8, 4),
    PixelFormat.BGRA8: _layout(np.uint8, 4),
    PixelFormat.RGBA16: _layout(np.uint16, 4),
    PixelFormat.RGBA16F: _layout(np.float16, 4),
    PixelFormat.RGBA32F: _layout(np.float32, 4),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the slots of a segment are. Never changes while the segment lives."""

    slot_count: int
    slot_stride: int
    slots_offset: int = SEGMENT_HEADER_BYTES

    @property
    def slot_capacity(self) -> int:
        """Payload bytes that fit into a slot."""
        return self.slot_stride - SLOT_HEADER_BYTES

    @property
    def segment_bytes(self) -> int:
        return self.slots_offset + self.slot_count * self.slot_stride

    def slot_offset(self, frame: int) -> int:
        """Byte offset of the slot that holds this frame number."""
        return self.slots_offset + (frame % self.slot_count) * self.slot_stride


def plan_geometry(slot_count: int, capacity_bytes: int) -> Geometry:
    """The smallest geometry whose slots hold `capacity_bytes`.

    Above 1 MiB capacity is rounded up to whole MiB, so that a window dragged larger does not make
    a new segment for every pixel of the way.

    Raises:
        RingError: when the ring would be larger than the ABI allows.
    """
    if not MIN_SLOTS <= slot_count <= MAX_SLOTS:
        raise RingError(f"slot_count = {slot_count}, expected {MIN_SLOTS}..{MAX_SLOTS}")
    mib = 1 << 20
    if capacity_bytes > mib:
        capacity_bytes = _round_up(capacity_bytes, mib)
    geometry = Geometry(slot_count, _round_up(capacity_bytes + SLOT_HEADER_BYTES, PAGE_BYTES))
    if geometry.segment_bytes > MAX_SEGMENT_BYTES:
        raise RingError(
            f"a ring of {slot_count} slots of {capacity_bytes} bytes needs "
            f"{geometry.segment_bytes} bytes, the largest is {MAX_SEGMENT_BYTES}; "
            "use smaller frames or fewer slots"
        )
    return geometry


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
