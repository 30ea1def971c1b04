"""FrameReader: takes frames from a stream that may not exist yet, may stop and may come back.

Nothing a peer writes can make it raise or read outside its mapping: what is refused is counted and
named in `refusal`, and the reader goes on.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import TracebackType

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import RingError
from sdv2_host.ipc.frame_pool import FramePool
from sdv2_host.ipc.ring_codec import (
    parse_slot_header,
)
from sdv2_host.ipc.ring_descriptor import (
    MAX_DESCRIPTOR_BYTES,
    check_stream,
    descriptor_path,
    lock_path,
    parse_descriptor,
)
from sdv2_host.ipc.ring_layout import (
    HEARTBEAT_WORD,
    PUBLISH_SEQ_WORD,
    SLOT_HEADER_BYTES,
    STATE_CLOSED,
    STATE_LIVE,
    STATE_SUPERSEDED,
)
from sdv2_host.ipc.ring_segment import (
    ReaderSegment,
)
from sdv2_host.ipc.run_dir import (
    check_run_dir,
    is_lock_held,
    read_private_file,
    run_dirs,
)
from sdv2_host.ipc.shm import (
    FileSegmentStore,
    SegmentStore,
    full_barrier,
)
from sdv2_host.types import Frame

MAX_RETRIES = 3
PROBE_INTERVAL_NS = 100 * NS_PER_MS
STALLED_AFTER_NS = 2 * NS_PER_S
POLL_GAP_NS = 5 * NS_PER_S
SWITCH_INTERVAL_NS = 5 * NS_PER_MS


class RingStatus(Enum):
    """What a reader knows of the writer."""

    ABSENT = "absent"
    """No such stream, or one that cannot be trusted (see `FrameReader.refusal`)."""
    LIVE = "live"
    STALLED = "stalled"
    """The writer's process lives but has not given a sign for two seconds."""
    DEAD = "dead"
    """The writer's process ended without closing the stream."""
    CLOSED = "closed"
    """The writer closed the stream."""


class FrameReader:
    """Reads one stream; any number of readers, none of them known to the writer.

    Used by one thread. Every frame is a private copy, checked after copying: a frame that the
    writer overtook meanwhile is thrown away, never returned. Its memory is used again only when
    nothing refers to the frame's pixels any more.
    """

    def __init__(
        self, stream: str, *, run_dir: Path | None = None, segments: SegmentStore | None = None
    ) -> None:
        """Ready at once, whether the stream exists or not.

        `run_dir` None: wherever hosts of this user are, also those for sandboxes.

        Raises:
            RingError: the name cannot be a stream's.
        """
        self._stream = check_stream(stream)
        self._run_dirs = (run_dir,) if run_dir is not None else run_dirs()
        self._segments = segments if segments is not None else SegmentStore()
        self._fence = full_barrier()
        self._pool = FramePool()

        self.lost = 0
        """Frames that were overwritten or refused before `read_next` could take them."""
        self.retries = 0
        """Attempts that found the slot overtaken by the writer; nothing of them was returned."""
        self.refused = 0
        """Descriptors, segments and frames that could not be trusted."""
        self.refusal = ""
        """Why the last of them was refused."""
        self.num_writers = 0
        """That were read from, one after the other: numbers of frames are each writer's own."""

        # Per generation.
        self._segment: ReaderSegment | None = None
        # Per writer: number of the last frame taken or refused, 0 = none yet.
        self._last = 0
        self._is_writer_alive = False
        self._ended = RingStatus.ABSENT  # what to say while there is no segment
        # Times of our own clock, which limit how often we look around.
        self._last_new_ns = 0
        self._last_poll_ns = 0
        self._watch_since_ns = 0
        self._next_probe_ns = 0
        self._next_switch_ns = 0

    @property
    def stream(self) -> str:
        return self._stream

    @property
    def status(self) -> RingStatus:
        """Looks around at most ten times a second; takes no frame."""
        now = now_ns()
        self._watch(now)
        segment = self._segment
        if segment is None or (segment.state == STATE_LIVE and self._is_quiet(now)):
            self._probe_if_due(now)
            segment = self._segment
        if segment is None:
            return self._ended
        if segment.state == STATE_CLOSED:
            return RingStatus.CLOSED
        if not self._is_writer_alive:
            return RingStatus.DEAD
        if segment.state == STATE_SUPERSEDED:
            return RingStatus.LIVE  # the next read goes over to the new segment
        sign_ns = max(segment.words[HEARTBEAT_WORD], self._watch_since_ns)
        return RingStatus.STALLED if now - sign_ns > STALLED_AFTER_NS else RingStatus.LIVE

    @property
    def writer_pid(self) -> int:
        """As the writer says, for messages to people; 0 = no stream."""
        return self._segment.header.writer_pid if self._segment is not None else 0

    def read_newest(self) -> Frame | None:
        """The newest frame that was not taken yet, or None. Older ones are skipped."""
        now = now_ns()
        self._watch(now)
        frame = self._take_newest()
        if self._look_around(frame, now, may_leave=True):
            frame = self._take_newest() or frame
        if frame is not None:
            self._last_new_ns = now
        return frame

    def read_next(self) -> Frame | None:
        """The oldest frame that was not taken yet and is still in the ring, or None.

        Gaps are counted in `lost`, from the first frame taken of a writer on.
        """
        now = now_ns()
        self._watch(now)
        # Looked at before the frames: what came between the two is still taken from this segment.
        is_superseded = self._segment is not None and self._segment.state == STATE_SUPERSEDED
        self._fence()
        frame = self._take_oldest()
        if frame is None and self._look_around(None, now, may_leave=is_superseded):
            frame = self._take_oldest()
        if frame is not None:
            self._last_new_ns = now
        return frame

    def peek(self, *, may_leave: bool) -> int:
        """How many frames the writer says it has published; takes none. 0 = there is no stream.

        `may_leave` False: not a segment that may hold frames which `read_next` has yet to take.
        """
        now = now_ns()
        self._watch(now)
        self._look_around(None, now, may_leave=may_leave)
        return self._segment.words[PUBLISH_SEQ_WORD] if self._segment is not None else 0

    def close(self) -> None:
        """The mapping is gone. A later read attaches again."""
        self._detach(RingStatus.ABSENT)
        self._next_probe_ns = 0

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take_newest(self) -> Frame | None:
        segment = self._segment
        if segment is None:
            return None
        for _ in range(MAX_RETRIES):
            newest = segment.words[PUBLISH_SEQ_WORD]
            if newest in (0, self._last):
                return None
            frame = self._take(segment, newest)
            if frame is not None:
                self._last = newest
                return frame
        return None

    def _take_oldest(self) -> Frame | None:
        segment = self._segment
        if segment is None:
            return None
        slot_count = segment.header.geometry.slot_count
        before = cursor = self._last
        for _ in range(slot_count + MAX_RETRIES):
            newest = segment.words[PUBLISH_SEQ_WORD]
            wanted = max(newest - slot_count + 1, cursor + 1)
            if newest == 0 or wanted > newest:
                return None
            frame = self._take(segment, wanted)
            if frame is not None:
                if before:
                    self.lost += wanted - before - 1
                self._last = wanted
                return frame
            cursor = wanted
        return None

    def _take(self, segment: ReaderSegment, number: int) -> Frame | None:
        """A private copy of frame `number`; None when it is not, or no longer, in its slot."""
        stable = 2 * number
        offset = segment.header.geometry.slot_offset(number)
        lock_word = offset // 8
        if segment.words[lock_word] != stable:
            self.retries += 1
            return None
        self._fence()
        raw = segment.map[offset : offset + SLOT_HEADER_BYTES]
        frame, refusal = None, ""
        try:
            header = parse_slot_header(raw, number, segment.header.geometry.slot_capacity)
            pixels = segment.copy_pixels(header, offset + SLOT_HEADER_BYTES, self._pool)
            frame = Frame(header.meta, pixels)
        except RingError as error:
            refusal = f"frame {number}: {error}"
        self._fence()
        if segment.words[lock_word] != stable:  # overtaken: what we saw may be of two frames
            self.retries += 1
            return None
        if frame is None:
            self._refuse(refusal)
            self._last = number
        return frame

    def _watch(self, now: int) -> None:
        """After a long gap between our own polls (suspend, breakpoint) we start watching anew."""
        if self._last_poll_ns and now - self._last_poll_ns > POLL_GAP_NS:
            self._watch_since_ns = now
        self._last_poll_ns = now

    def _is_quiet(self, now: int) -> bool:
        return now - self._last_new_ns > PROBE_INTERVAL_NS

    def _look_around(self, frame: Frame | None, now: int, *, may_leave: bool) -> bool:
        """True when we went over to another segment. Costs nothing while frames flow.

        `may_leave` False: not from one that is superseded, which may hold frames not taken yet.
        """
        segment = self._segment
        if segment is not None:
            if segment.state == STATE_SUPERSEDED:
                if not may_leave or now < self._next_switch_ns:
                    return False
                self._next_switch_ns = now + SWITCH_INTERVAL_NS
                return self._probe()
            if frame is not None or (segment.state == STATE_LIVE and not self._is_quiet(now)):
                return False
        return self._probe_if_due(now)

    def _probe_if_due(self, now: int) -> bool:
        if now < self._next_probe_ns:
            return False
        self._next_probe_ns = now + PROBE_INTERVAL_NS
        return self._probe()

    def _probe(self) -> bool:
        """Read the descriptor; True when it names another segment and we are attached to that."""
        old = self._segment
        run_dir = self._find()
        try:
            check_run_dir(run_dir)
            raw = read_private_file(descriptor_path(run_dir, self._stream), MAX_DESCRIPTOR_BYTES)
            descriptor = parse_descriptor(raw, self._stream)
            if old is not None and old.name == descriptor.segment:
                return False
            in_file = descriptor.backing == FileSegmentStore.backing
            segments = FileSegmentStore(run_dir) if in_file else self._segments
            new = ReaderSegment(descriptor, segments)
        except FileNotFoundError:
            self._forget_if_over()
            return False
        except (OSError, RingError) as error:
            self._refuse(str(error))
            return False
        is_same_writer = old is not None and old.header.is_same_writer(new.header)
        self._detach(RingStatus.ABSENT)
        self._segment = new
        if not is_same_writer:
            self._last = 0
            self.num_writers += 1
        return True

    def _find(self) -> Path:
        """The directory whose writer lives, else the first that a writer left something in."""
        for run_dir in self._run_dirs:
            self._is_writer_alive = is_lock_held(lock_path(run_dir, self._stream))
            if self._is_writer_alive:
                return run_dir
        left = (one for one in self._run_dirs if descriptor_path(one, self._stream).exists())
        return next(left, self._run_dirs[0])

    def _forget_if_over(self) -> None:
        """Without a descriptor a segment is closed or removed: give its memory back when empty."""
        segment = self._segment
        if segment is None or segment.words[PUBLISH_SEQ_WORD] != self._last:
            return
        if segment.state == STATE_CLOSED:
            self._detach(RingStatus.CLOSED)
        elif not self._is_writer_alive:
            self._detach(RingStatus.DEAD)

    def _detach(self, ended: RingStatus) -> None:
        self._ended = ended
        if self._segment is not None:
            self._segment.release()
            self._segment = None

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self.refusal = reason
