"""Headers of a frame ring to and from bytes, with every check a reader needs. No I/O.

What a peer wrote is trusted only after `parse_segment_header` and `parse_slot_header`, which look
at private copies: the peer may change the original while we look.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_layout import (
    ABI_MAJOR,
    ABI_MINOR,
    CLOCK_PERF_COUNTER,
    ENDIAN_TAG,
    FLAG_REAL_BARRIERS,
    MAGIC,
    MAX_SEGMENT_BYTES,
    MAX_SIDE_PX,
    MAX_SLOTS,
    MIN_SLOTS,
    PAGE_BYTES,
    PIXEL_LAYOUTS,
    READY,
    SEGMENT_HEADER_BYTES,
    SLOT_HEADER_BYTES,
    UPLOAD_UNIT_US,
    Geometry,
)
from sdv2_host.types import (
    AlphaMode,
    FrameFlags,
    FrameMeta,
    Orientation,
    PixelFormat,
    StageTimes,
)

_SEGMENT = struct.Struct("<8sHHIIIQQ16sQIIQQQIIQQIIQ64s")  # 0x000 .. 0x0C8
_SLOT = struct.Struct("<QQQQIIIBBBBBBHIqqQqQIIqIIIHH")  # 0x00 .. 0x80
_SLOT_AFTER_LOCK = struct.Struct("<QQQIIIBBBBBBHIqqQqQIIqIIIHH")  # 0x08 .. 0x80
SEGMENT_FIXED_BYTES = _SEGMENT.size
"""The part of the segment header that never changes once READY is set."""

# ITU-T H.273: BT.709 primaries, sRGB transfer, identity matrix, full range.
_SRGB_FULL = (1, 13, 0, 1)
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What the writer says of a segment when it is made."""

    geometry: Geometry
    generation: int
    uuid: bytes
    stream: str
    writer_pid: int
    writer_start: int
    created_unix_ns: int

    def is_same_writer(self, other: SegmentHeader) -> bool:
        """Frame numbers go on from one segment to the next of the same writer."""
        mine, others = (self.writer_pid, self.writer_start), (other.writer_pid, other.writer_start)
        return mine == others


@dataclass(frozen=True, slots=True)
class SlotHeader:
    """A validated slot header: every size in it fits the slot it was read from."""

    meta: FrameMeta
    row_stride: int
    payload_bytes: int


def pack_segment_header(header: SegmentHeader) -> bytes:
    """The first 0xC8 bytes of a segment, READY still 0: the writer stores that word last."""
    geometry = header.geometry
    return _SEGMENT.pack(
        MAGIC,
        ABI_MAJOR,
        ABI_MINOR,
        SEGMENT_HEADER_BYTES,
        ENDIAN_TAG,
        FLAG_REAL_BARRIERS,
        geometry.segment_bytes,
        header.generation,
        header.uuid,
        0,
        geometry.slot_count,
        SLOT_HEADER_BYTES,
        geometry.slot_stride,
        geometry.slots_offset,
        geometry.slot_capacity,
        CLOCK_PERF_COUNTER,
        0,
        0,
        header.created_unix_ns,
        header.writer_pid,
        0,
        header.writer_start,
        header.stream.encode(),
    )


def parse_segment_header(raw: bytes) -> SegmentHeader:
    """The header in `raw` (a private copy of at least 0xC8 bytes), checked.

    Raises:
        RingError: naming the field that cannot be trusted.
    """
    if len(raw) < _SEGMENT.size:
        raise RingError(f"segment header has {len(raw)} bytes, expected {_SEGMENT.size}")
    (
        magic, major, _minor, header_bytes, endian, _flags, segment_bytes, generation, uuid, ready,
        slot_count, slot_header_bytes, slot_stride, slots_offset, slot_capacity, _clock, _r0, _r1,
        created_unix_ns, writer_pid, _r2, writer_start, stream_raw,
    ) = _SEGMENT.unpack_from(raw)  # fmt: skip
    _expect("magic", magic, MAGIC)
    _expect("endian tag", endian, ENDIAN_TAG)
    _expect("abi major", major, ABI_MAJOR)
    _expect("ready", ready, READY)
    _expect("header_bytes", header_bytes, SEGMENT_HEADER_BYTES)
    _expect("slot_header_bytes", slot_header_bytes, SLOT_HEADER_BYTES)
    _expect("slots_offset", slots_offset, SEGMENT_HEADER_BYTES)
    _expect_range("slot_count", slot_count, MIN_SLOTS, MAX_SLOTS)
    _expect_range("slot_stride", slot_stride, PAGE_BYTES, MAX_SEGMENT_BYTES)
    _expect("slot_stride % 4096", slot_stride % PAGE_BYTES, 0)
    geometry = Geometry(slot_count, slot_stride, slots_offset)
    _expect("slot_capacity", slot_capacity, geometry.slot_capacity)
    _expect("segment_bytes", segment_bytes, geometry.segment_bytes)
    _expect_range("segment_bytes", segment_bytes, 0, MAX_SEGMENT_BYTES)
    stream = stream_raw.rstrip(b"\0").decode("ascii", errors="replace")
    return SegmentHeader(
        geometry, generation, uuid, stream, writer_pid, writer_start, created_unix_ns
    )


def pack_slot_body(
    meta: FrameMeta, frame: int, publish_ts_ns: int, row_stride: int, payload_bytes: int
) -> bytes:
    """A slot header from 0x08 on; the lock word before it belongs to the protocol.

    `frame` and `publish_ts_ns` are the writer's, those in `meta` are not used.
    """
    times = meta.times
    return _SLOT_AFTER_LOCK.pack(
        frame,
        payload_bytes,
        row_stride,
        meta.width,
        meta.height,
        meta.pixel_format,
        meta.alpha,
        meta.orientation,
        *_SRGB_FULL,
        meta.flags,
        min(meta.dropped_before, _U32),
        meta.capture_ts_ns,
        publish_ts_ns,
        meta.source_frame,
        meta.source_capture_ts_ns,
        meta.user_tag,
        0,
        _within(times.wait_us, _U32),
        meta.present_ts_ns,
        _within(times.encode_us, _U32),
        _within(times.denoise_us, _U32),
        _within(times.decode_us, _U32),
        _within(times.upload_us // UPLOAD_UNIT_US, _U16),
        _within(times.download_us // UPLOAD_UNIT_US, _U16),
    )


def parse_slot_header(raw: bytes, frame: int, capacity: int) -> SlotHeader:
    """The header in `raw` (a private copy of 128 bytes), checked against frame and capacity.

    Raises:
        RingError: naming the field that cannot be trusted.
    """
    (
        _lock, got_frame, payload_bytes, row_stride, width, height, format_code, alpha, orientation,
        _primaries, _transfer, _matrix, _full_range, flags, dropped_before, capture_ts_ns,
        publish_ts_ns, source_frame, source_capture_ts_ns, user_tag, _crc, wait_us, present_ts_ns,
        encode_us, denoise_us, decode_us, upload_16us, download_16us,
    ) = _SLOT.unpack(raw)  # fmt: skip
    _expect("frame", got_frame, frame)
    _expect_range("payload_bytes", payload_bytes, 0, capacity)
    _expect_range("width", width, 1, MAX_SIDE_PX)
    _expect_range("height", height, 1, MAX_SIDE_PX)
    _expect_range("alpha", alpha, 0, len(AlphaMode) - 1)
    _expect_range("orientation", orientation, 0, len(Orientation) - 1)
    _expect("GPU flag", flags & FrameFlags.GPU_HANDLE, 0)
    try:
        pixel_format = PixelFormat(format_code)
    except ValueError:
        raise RingError(f"pixel_format = {format_code} is not a format of ABI 1") from None
    row_bytes = width * PIXEL_LAYOUTS[pixel_format].bytes_per_pixel
    _expect_range("row_stride", row_stride, row_bytes, capacity)
    _expect_range("last row's end", row_stride * (height - 1) + row_bytes, 0, payload_bytes)
    meta = FrameMeta(
        width=width,
        height=height,
        pixel_format=pixel_format,
        alpha=AlphaMode(alpha),
        orientation=Orientation(orientation),
        flags=FrameFlags(flags),
        frame=frame,
        dropped_before=dropped_before,
        capture_ts_ns=capture_ts_ns,
        publish_ts_ns=publish_ts_ns,
        source_frame=source_frame,
        source_capture_ts_ns=source_capture_ts_ns,
        user_tag=user_tag,
        present_ts_ns=present_ts_ns,
        times=StageTimes(
            wait_us,
            upload_16us * UPLOAD_UNIT_US,
            encode_us,
            denoise_us,
            decode_us,
            download_16us * UPLOAD_UNIT_US,
        ),
    )
    return SlotHeader(meta, row_stride, payload_bytes)


def _within(value: int, most: int) -> int:
    return min(max(value, 0), most)


def _expect(field: str, value: object, wanted: object) -> None:
    if value != wanted:
        raise RingError(f"{field} = {value!r}, expected {wanted!r}")


def _expect_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise RingError(f"{field} = {value}, expected {low}..{high}")
