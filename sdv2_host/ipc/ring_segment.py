"""One generation of a stream, mapped: by its writer for writing, by readers for reading only."""

from __future__ import annotations

import contextlib
import mmap
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import now_ns
from sdv2_host.errors import RingError
from sdv2_host.ipc.frame_pool import FramePool
from sdv2_host.ipc.ring_codec import (
    SEGMENT_FIXED_BYTES,
    SegmentHeader,
    SlotHeader,
    pack_segment_header,
    parse_segment_header,
)
from sdv2_host.ipc.ring_descriptor import (
    Descriptor,
)
from sdv2_host.ipc.ring_layout import (
    BELL_OFFSET,
    HEARTBEAT_WORD,
    PIXEL_LAYOUTS,
    READY,
    READY_WORD,
    SEGMENT_FIELDS,
    SEGMENT_HEADER_BYTES,
    STATE_LIVE,
    STATE_WORD,
)
from sdv2_host.ipc.shm import (
    SegmentStore,
)


class WriterSegment:
    """One generation, mapped for writing."""

    def __init__(
        self, name: str, store: SegmentStore, header: SegmentHeader, fence: Callable[[], None]
    ) -> None:
        self.name = name
        self.geometry = header.geometry
        self.map: mmap.mmap = store.create(name, header.geometry.segment_bytes)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self.map, np.uint8)
        self._view = memoryview(self.map)
        self.words = self._view.cast("Q")
        self.bell = self._view[BELL_OFFSET : BELL_OFFSET + 4].cast("I")
        raw = pack_segment_header(header)
        self.map[: len(raw)] = raw
        self.words[SEGMENT_FIELDS["clock_perf_ns"][0] // 8] = now_ns()
        self.words[SEGMENT_FIELDS["clock_unix_ns"][0] // 8] = time.time_ns()
        self.words[HEARTBEAT_WORD] = now_ns()
        self.words[STATE_WORD] = STATE_LIVE
        fence()
        self.words[READY_WORD] = READY  # last: readers trust the header when they see it
        self._head = self.map[:SEGMENT_FIXED_BYTES]

    def can_be_attached(self, store: SegmentStore) -> bool:
        """Whether a reader that comes now finds it, with the header that it was made with."""
        try:
            head = store.attach(self.name, SEGMENT_HEADER_BYTES)
        except (OSError, RingError):
            return False
        with contextlib.closing(head):
            is_as_made = head[: len(self._head)] == self._head
        return is_as_made and self.words[STATE_WORD] == STATE_LIVE

    def release(self) -> None:
        """The mapping is closed, or will be when the last view that `begin` gave out is gone."""
        self.bytes = np.empty(0, np.uint8)
        self.words.release()
        self.bell.release()
        self._view.release()
        with contextlib.suppress(BufferError):  # a caller holds a view: memory goes with that
            self.map.close()


class ReaderSegment:
    """One generation, mapped for reading. Its geometry is our own copy, checked once."""

    def __init__(self, descriptor: Descriptor, store: SegmentStore) -> None:
        """Raises RingError or OSError when it is gone or cannot be trusted."""
        self.name = descriptor.segment
        head = store.attach(self.name, SEGMENT_HEADER_BYTES)
        raw = head[:SEGMENT_FIXED_BYTES]
        head.close()
        self.header: SegmentHeader = parse_segment_header(raw)
        if (self.header.uuid.hex(), self.header.stream) != (descriptor.uuid, descriptor.stream):
            raise RingError(
                f"segment {self.name} is of stream {self.header.stream!r}, not what the "
                f"descriptor of {descriptor.stream} says"
            )
        self.map: mmap.mmap = store.attach(self.name, self.header.geometry.segment_bytes)
        if self.map[:SEGMENT_FIXED_BYTES] != raw:
            self.map.close()
            raise RingError(f"segment {self.name} changed while it was opened")
        self._view = memoryview(self.map)
        self.words = self._view.cast("Q")

    @property
    def state(self) -> int:
        return self.words[STATE_WORD]

    def copy_pixels(self, header: SlotHeader, offset: int, pool: FramePool) -> NDArray[Any]:
        """[H, W, C] of the format's dtype, from the payload at `offset`. numpy frees the GIL."""
        layout = PIXEL_LAYOUTS[header.meta.pixel_format]
        slot: NDArray[Any] = np.ndarray(
            (header.meta.height, header.meta.width, layout.channels),
            layout.dtype,
            buffer=self.map,
            offset=offset,
            strides=(header.row_stride, layout.bytes_per_pixel, layout.dtype.itemsize),
        )
        pixels = pool.take(slot.nbytes).view(layout.dtype).reshape(slot.shape)
        np.copyto(pixels, slot)
        return pixels

    def release(self) -> None:
        self.words.release()
        self._view.release()
        self.map.close()
