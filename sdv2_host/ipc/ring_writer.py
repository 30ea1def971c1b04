"""FrameWriter: the one process that writes a stream. It never waits for a reader."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_codec import (
    SegmentHeader,
    pack_slot_body,
)
from sdv2_host.ipc.ring_descriptor import (
    MAX_DESCRIPTOR_BYTES,
    Descriptor,
    check_stream,
    descriptor_path,
    new_segment_name,
    pack_descriptor,
    pending_path,
)
from sdv2_host.ipc.ring_layout import (
    HEARTBEAT_WORD,
    PIXEL_LAYOUTS,
    PUBLISH_SEQ_WORD,
    SLOT_BODY_OFFSET,
    SLOT_HEADER_BYTES,
    STATE_CLOSED,
    STATE_SUPERSEDED,
    STATE_WORD,
    plan_geometry,
)
from sdv2_host.ipc.ring_leftovers import (
    clear_leftovers,
    lock_stream,
)
from sdv2_host.ipc.ring_segment import (
    WriterSegment,
)
from sdv2_host.ipc.run_dir import (
    default_run_dir,
    make_run_dir,
    read_private_file,
    remove_file,
    write_private_file,
)
from sdv2_host.ipc.shm import (
    SegmentStore,
    full_barrier,
    segment_store,
)
from sdv2_host.types import FrameMeta

DEFAULT_CAPACITY_BYTES = 256 * 256 * 4
LOOK_INTERVAL_NS = 500 * NS_PER_MS
"""Between two looks whether readers still find the stream; one takes 50 us."""
_U32 = 0xFFFFFFFF


class FrameWriter:
    """Publishes frames into the ring of a stream; one writer per stream and run directory.

    Used by one thread. A process that holds a writer must not fork: the child would keep the lock.

    A stream whose files somebody deletes, as programs that tidy up /tmp or /dev/shm do, or whose
    header somebody overwrites, is made anew within half a second; readers go over by themselves.

    State, per life of the writer: the lock, the frame number. Per generation: the segment, the
    bytes that its descriptor has, the payload that was asked for.
    """

    def __init__(
        self,
        stream: str,
        *,
        slot_count: int = 4,
        capacity_bytes: int = 0,
        run_dir: Path | None = None,
        segments: SegmentStore | None = None,
    ) -> None:
        """The stream is live and empty; what a dead writer of this name left behind is gone.

        Args:
            slot_count: 2..64; the ring holds this many frames.
            capacity_bytes: payload the first segment has room for; 0 = a 256x256 RGBA8 frame.

        Raises:
            AlreadyRunningError: the stream has a living writer.
            RingError: no memory, no permission, or a bad name or size.
        """
        self._stream = check_stream(stream)
        self._slot_count = slot_count
        self._run_dir = run_dir if run_dir is not None else default_run_dir()
        self._segments = segments if segments is not None else segment_store(self._run_dir)
        self._fence = full_barrier()
        self._frame = 0
        self._start_ns = now_ns()
        self._begun: FrameMeta | None = None
        self._begun_bytes = 0
        self._closed = False
        self._next_look_ns = self._start_ns + LOOK_INTERVAL_NS
        self._capacity_bytes = 0
        self._descriptor = b""
        make_run_dir(self._run_dir)
        self._lock = lock_stream(stream, self._run_dir)
        try:
            self._generation = clear_leftovers(stream, self._run_dir, self._segments)
            self._segment = self._new_segment(capacity_bytes or DEFAULT_CAPACITY_BYTES, None)
        except RingError:
            self._lock.release()
            raise

    @property
    def stream(self) -> str:
        return self._stream

    @property
    def frame(self) -> int:
        """Number of the last frame published, 0 = none."""
        return self._frame

    @property
    def generation(self) -> int:
        """Rises with every new segment."""
        return self._generation

    def publish(self, pixels: NDArray[Any], meta: FrameMeta) -> int:
        """The frame is in the ring and is the newest; returns its number.

        Args:
            pixels: [H, W, C] of the format's dtype, any strides; copied. R8 may be [H, W].
            meta: `frame` and `publish_ts_ns` are filled in.

        Raises:
            RingError: pixels and meta do not agree, or a larger segment cannot be made; then the
                stream goes on with its old one.
        """
        layout = PIXEL_LAYOUTS[meta.pixel_format]
        shape = (meta.height, meta.width, layout.channels)
        if pixels.ndim == 2 and layout.channels == 1:
            pixels = pixels[:, :, None]
        if pixels.shape != shape or pixels.dtype != layout.dtype:
            raise RingError(
                f"stream {self._stream}: pixels are {pixels.dtype} {list(pixels.shape)}, "
                f"{meta.pixel_format.name} {meta.width}x{meta.height} needs {layout.dtype} "
                f"{list(shape)}"
            )
        payload = self.begin(meta, pixels.nbytes)
        np.copyto(payload.view(layout.dtype).reshape(shape), pixels)
        return self.commit()

    def begin(self, meta: FrameMeta, payload_bytes: int) -> NDArray[np.uint8]:
        """A writable [payload_bytes] view of the next slot, to be filled before `commit`.

        Rows are `payload_bytes // height` apart. The view belongs to the ring: do not keep it. A
        second `begin` without `commit` starts the same frame again.

        Raises:
            RingError: the frame is smaller than its format needs, or there is no memory for it.
        """
        needed = meta.width * meta.height * PIXEL_LAYOUTS[meta.pixel_format].bytes_per_pixel
        if needed <= 0 or payload_bytes < needed or payload_bytes % meta.height:
            raise RingError(
                f"stream {self._stream}: {payload_bytes} bytes for {meta.pixel_format.name} "
                f"{meta.width}x{meta.height}, expected {meta.height} equal rows, {needed} or more"
            )
        if payload_bytes > self._segment.geometry.slot_capacity:
            self._grow(payload_bytes)
        self._begun, self._begun_bytes = meta, payload_bytes
        segment, frame = self._segment, self._frame + 1
        offset = segment.geometry.slot_offset(frame)
        segment.words[offset // 8] = 2 * frame - 1
        self._fence()
        start = offset + SLOT_HEADER_BYTES
        return segment.bytes[start : start + payload_bytes]

    def commit(self, meta: FrameMeta | None = None) -> int:
        """The frame begun is the newest of the ring; returns its number.

        Args:
            meta: replaces the one given to `begin` (same size and format), for what was not known
                then.
        """
        assert self._begun is not None, "commit without begin"
        begun = meta if meta is not None else self._begun
        self._begun = None
        segment, frame = self._segment, self._frame + 1
        offset = segment.geometry.slot_offset(frame)
        now = now_ns()
        row_stride = self._begun_bytes // begun.height
        body = pack_slot_body(begun, frame, now, row_stride, self._begun_bytes)
        start = offset + SLOT_BODY_OFFSET
        segment.map[start : start + len(body)] = body
        self._fence()
        segment.words[offset // 8] = 2 * frame
        self._fence()
        segment.words[PUBLISH_SEQ_WORD] = frame
        segment.words[HEARTBEAT_WORD] = now
        segment.bell[0] = (segment.bell[0] + 1) & _U32
        self._frame = frame
        if now > self._next_look_ns:
            self._look(now)
        return frame

    def heartbeat(self) -> None:
        """Readers know that the writer lives; call at 10 Hz or more when nothing is published."""
        now = now_ns()
        self._segment.words[HEARTBEAT_WORD] = now
        if now > self._next_look_ns and self._begun is None:
            self._look(now)

    def close(self) -> None:
        """The stream is gone: nothing is left in shared memory or the run directory."""
        if self._closed:
            return
        self._closed = True
        self._segment.words[STATE_WORD] = STATE_CLOSED
        with contextlib.suppress(RingError):  # no directory any more: nothing to remove from it
            if self._has_name():
                remove_file(descriptor_path(self._run_dir, self._stream))
                remove_file(pending_path(self._run_dir, self._stream))
        self._segments.unlink(self._segment.name)
        self._segment.release()
        self._lock.release()

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _look(self, now: int) -> None:
        """Readers that come now find the stream, if that is to be had; else it is tried again."""
        self._next_look_ns = now + LOOK_INTERVAL_NS
        try:
            make_run_dir(self._run_dir)
            if self._has_name() and not self._is_found():
                self._grow(self._capacity_bytes)
        except RingError:
            pass  # no memory, or a directory that is not ours: those who read go on reading

    def _has_name(self) -> bool:
        """Whether the stream is ours still, or again. Where somebody removed its lock file and
        another writer came since, it is not while that one lives."""
        if self._lock.is_in_place:
            return True
        if not self._lock.renew():
            return False
        if not self._is_described():
            other = clear_leftovers(self._stream, self._run_dir, self._segments)
            self._generation = max(self._generation, other)
        return True

    def _is_found(self) -> bool:
        """Whether descriptor and segment are there, as they were made."""
        return self._is_described() and self._segment.can_be_attached(self._segments)

    def _is_described(self) -> bool:
        try:
            path = descriptor_path(self._run_dir, self._stream)
            return read_private_file(path, MAX_DESCRIPTOR_BYTES) == self._descriptor
        except (OSError, RingError):
            return False

    def _grow(self, payload_bytes: int) -> None:
        old = self._segment
        self._segment = self._new_segment(payload_bytes, old.name)
        old.words[STATE_WORD] = STATE_SUPERSEDED  # after the descriptor: readers look there next
        self._segments.unlink(old.name)
        old.release()
        remove_file(pending_path(self._run_dir, self._stream))

    def _new_segment(self, capacity_bytes: int, old_name: str | None) -> WriterSegment:
        """A ready segment that the descriptor points to. The old one is untouched on error."""
        geometry = plan_geometry(self._slot_count, capacity_bytes)
        name, identity = new_segment_name(), uuid.uuid4()
        # Names are written down before they exist: whenever this process is killed, every segment
        # of the stream is named by the descriptor or by this file.
        names = [name] if old_name is None else [old_name, name]
        pending = pending_path(self._run_dir, self._stream)
        write_private_file(pending, "\n".join(names).encode())
        header = SegmentHeader(
            geometry=geometry,
            generation=self._generation + 1,
            uuid=identity.bytes,
            stream=self._stream,
            writer_pid=os.getpid(),
            writer_start=self._start_ns,
            created_unix_ns=time.time_ns(),
        )
        descriptor = Descriptor(
            stream=self._stream,
            segment=name,
            generation=header.generation,
            uuid=identity.hex,
            pid=header.writer_pid,
            writer=Path(sys.argv[0]).name if sys.argv else "",
            created_unix_ns=header.created_unix_ns,
            backing=self._segments.backing,
        )
        try:
            segment = WriterSegment(name, self._segments, header, self._fence)
            packed = pack_descriptor(descriptor)
            write_private_file(descriptor_path(self._run_dir, self._stream), packed)
        except RingError as error:
            self._segments.unlink(name)
            remove_file(pending)
            raise RingError(f"stream {self._stream}: {error}") from error
        self._generation = header.generation
        self._capacity_bytes, self._descriptor = capacity_bytes, packed
        if old_name is None:
            remove_file(pending)
        return segment
