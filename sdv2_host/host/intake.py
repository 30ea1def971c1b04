"""From the input ring to the engine: newest frames win, spacing stays even, latency never grows.

Frames that say LOCKSTEP are a render's: none is passed over, and they go in order.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import WorkerError
from sdv2_host.host.backlog import Backlog, ChunkWish
from sdv2_host.host.source_rate import SourceRate
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.types import Frame

POLL_S = 0.002
PATIENCE_LOOK_S = 0.02
PATIENCE_CHUNKS = 4
"""An engine that had frames waiting for so many chunks in a row is behind, not late once."""


class IntakeChunk(NamedTuple):
    frames: list[Frame]
    """Of one size and format, in order."""
    num_repeated: int
    """The last so many are the newest frame again: the source has stopped and left too few."""
    begins_session: bool
    """The source began before these frames, or the engine begins anew with them: no state of the
    engine should survive."""


class IntakeCounts(NamedTuple):
    """Since the intake's start."""

    frames_in: int
    """Frames that the source published, those missed included."""
    taken: int
    """Frames that chunks were made of."""
    dropped: int
    """Frames of the source that no chunk got."""
    queue_depth: int


class Intake:
    """Reads the input ring; `next_chunk` hands out frames. Owns the reader and one thread.

    Why a thread: the engine holds the main thread for a whole chunk (100 ms and more), and a ring
    of four slots is lapped in that time, so frames must be copied out while the engine computes.
    It polls because the ring has no bell: writers are creative apps and must never be made to
    wake others. One look costs 0.5 us; numpy releases the GIL while it copies.
    """

    def __init__(self, reader: FrameReader, first_frames: int, chunk_frames: int) -> None:
        """`first_frames` are wanted for the first chunk of a session, then `chunk_frames`."""
        self._reader = reader
        self._first_frames = first_frames
        self._backlog = Backlog(wish=ChunkWish(chunk_frames, chunk_frames))
        self._rate = SourceRate()
        self._frames_in = 0
        self._taken = 0
        self._chunks_since_wait = 0
        """Chunks taken since the engine last had to wait for frames."""
        self._arrival = threading.Condition()
        self._closing = threading.Event()
        # The newest: what a stopped source left in the ring is history, not a stream. Read here and
        # not by the thread, so that of what comes once the intake is there nothing is passed over.
        self._first = reader.read_newest()
        self._thread = threading.Thread(target=self._poll, name="intake", daemon=True)
        self._thread.start()

    def __enter__(self) -> Intake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def follow(self, target_fps: float, wish: ChunkWish) -> None:
        """The live parameter of that name and the wish hold from now on."""
        with self._arrival:
            self._backlog.gate.target_fps = target_fps
            self._backlog.follow(wish)

    @property
    def source_fps(self) -> float:
        """0 = not known yet."""
        with self._arrival:
            return self._rate.fps

    @property
    def newest_ns(self) -> int:
        """When the source's newest frame came; 0 = none did."""
        with self._arrival:
            return self._rate.newest_ns

    def discard(self) -> None:
        """What waits is dropped, lock-step frames excepted: they wait for when it goes on."""
        with self._arrival:
            self._backlog.discard()

    def begin_anew(self) -> None:
        """The next chunk begins a session, in the middle of whatever source."""
        with self._arrival:
            self._backlog.begin_anew()

    def next_chunk(self, timeout_s: float) -> IntakeChunk | None:
        """The next frames for the engine, or None when too few came in time. Blocks until then.

        Raises:
            WorkerError: the reading thread has ended.
        """
        with self._arrival:
            must_wait = self._next_count() == 0
            count = self._wait_for_frames(timeout_s)
            if not self._thread.is_alive():
                raise WorkerError("the thread that reads the input ring has ended, see above")
            if not count:
                return None
            self._backlog.expire(now_ns(), count)
            begins_session = self._backlog.begins_session
            keeps_up = self._chunks_since_wait < PATIENCE_CHUNKS
            frames = self._backlog.take(count, keeps_up, self._rate.has_bursts)
            self._chunks_since_wait = 0 if must_wait else self._chunks_since_wait + 1
            self._taken += len(frames)
            num_repeated = count - len(frames)
            return IntakeChunk(frames + frames[-1:] * num_repeated, num_repeated, begins_session)

    def _next_count(self) -> int:
        return self._backlog.next_count(self._first_frames, now_ns())

    def _wait_for_frames(self, timeout_s: float) -> int:
        """Frames of the next chunk, 0 = too few came in time."""
        deadline_ns = now_ns() + round(timeout_s * NS_PER_S)
        while not (count := self._next_count()):
            left_s = (deadline_ns - now_ns()) / NS_PER_S
            if left_s <= 0 or not self._thread.is_alive():
                break
            # The patience for a longer chunk may end with no frame to wake this.
            self._arrival.wait(min(left_s, PATIENCE_LOOK_S))
        return count

    @property
    def counts(self) -> IntakeCounts:
        with self._arrival:
            lost = self._reader.lost
            return IntakeCounts(
                frames_in=self._frames_in + lost,
                taken=self._taken,
                dropped=self._backlog.dropped + lost,
                queue_depth=len(self._backlog.waiting),
            )

    def close(self) -> None:
        """The thread has ended and the reader is closed."""
        self._closing.set()
        self._thread.join()
        self._reader.close()

    def _poll(self) -> None:
        frame, self._first = self._first, None
        num_writers = self._reader.num_writers
        while not self._closing.wait(POLL_S):
            while frame is not None:
                is_cut = self._reader.num_writers != num_writers
                num_writers = self._reader.num_writers
                with self._arrival:
                    self._frames_in += 1
                    self._rate.push(frame.meta, is_cut)
                    self._backlog.push(frame, is_cut)
                    self._arrival.notify()
                frame = self._reader.read_next()
            frame = self._reader.read_next()
