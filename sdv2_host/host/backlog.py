"""Frames that wait for the engine. Pure: no thread, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S
from sdv2_host.host.rate_gate import RateGate
from sdv2_host.types import Frame, FrameFlags, FrameMeta

BACKLOG_CHUNKS = 2
"""Frames kept at most, in chunks of the length that is wished for: one to be taken, and as many
again to choose evenly spaced ones from. A 1080p float frame is 33 MB."""
LOCKSTEP_FRAMES = 64
"""Lock-step frames kept at most. A ring has no more slots, so whoever waits for its pictures as it
should never comes here; a writer that does not must not fill the memory."""
NUM_GAPS = 32
"""Between so many frames a source shows how long it is silent without having stopped..."""
STOP_GAPS = 1.25
"""...and so many times as long says that it has, or..."""
MAX_SILENCE_NS = NS_PER_S
"""...this long: of a source that publishes when its picture changes any gap may be the last."""


class ChunkWish(NamedTuple):
    """What the next chunk of a session should be; a session's first has a length of its own."""

    num_frames: int
    base_frames: int
    """A chunk as started: `num_frames` is a multiple of it, and any other will do where the source
    does not fill the longer chunk in time."""
    patience_ns: int = 0
    """How old the oldest frame may be by then."""
    max_age_ns: int = 0
    """Frames that are older when a chunk is made are dropped; 0 = none are."""
    rest_ns: int = 0
    """A source that is silent for so long has stopped for now: what it left, too little for a chunk
    as started, is made into one all the same, or its last pictures would not be seen. 0 = never."""
    may_wait: bool = True
    """For frames that fill it, up to that patience. An engine that is behind and has run out of
    frames, after a stall, has no time to: it makes shorter ones meanwhile."""


USUAL_WISH = ChunkWish(4, 4)


@dataclass(slots=True)
class Session:
    """Frames of one source, of one size and format, that no chunk got yet: oldest first."""

    taken_number: int = 0
    """Number of the last frame given to a chunk; chunks stand for the time after it."""
    frames: list[Frame] = field(default_factory=list)
    is_new: bool = True
    """No chunk was made of it yet."""

    @property
    def has_lockstep(self) -> bool:
        return any(frame.is_lockstep for frame in self.frames)

    def most_crowded(self) -> int:
        """Index of the frame that is missed least; never the newest, never a lock-step frame."""
        numbers = [self.taken_number, *(frame.meta.frame for frame in self.frames)]
        candidates = (
            index for index, frame in enumerate(self.frames[:-1]) if not frame.is_lockstep
        )
        return min(candidates, key=lambda index: numbers[index + 2] - numbers[index])

    def spread(self, count: int) -> list[Frame]:
        """`count` frames, each nearest to the end of its share of the time, the newest last."""
        numbers = [frame.meta.frame for frame in self.frames]
        share = (numbers[-1] - self.taken_number) / count
        chosen: list[int] = []
        for k in range(1, count + 1):
            target = self.taken_number + k * share
            first = chosen[-1] + 1 if chosen else 0
            candidates = range(first, len(numbers) - (count - k))  # leaves one for each to come
            chosen.append(min(candidates, key=lambda index: abs(numbers[index] - target)))
        return [self.frames[index] for index in chosen]


@dataclass(slots=True)
class Backlog:
    """What came and no chunk got yet.

    When the engine is so slow that the backlog fills, the frame goes whose neighbours are closest
    to each other, so that what a later chunk gets is spread over the whole time it stands for.
    Lock-step frames wait beside the others, are never thinned out and go to the engine in order.
    """

    sessions: list[Session] = field(default_factory=lambda: [Session()])
    """Oldest first, at least one; those before the newest hold lock-step frames only."""
    dropped: int = 0
    """Since the start."""
    previous: FrameMeta | None = None
    """Of the newest frame ever pushed."""
    wish: ChunkWish = USUAL_WISH
    gate: RateGate = field(default_factory=RateGate)
    gaps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=NUM_GAPS))
    """Between the newest frames, whatever became of them."""
    has_cut: bool = False
    """What came before a stall was dropped since the last chunk. Once is enough: of a source whose
    frames all come after what looks like a stall there would never be a chunk."""

    @property
    def waiting(self) -> list[Frame]:
        """All frames, oldest first."""
        return [frame for session in self.sessions for frame in session.frames]

    @property
    def begins_session(self) -> bool:
        """What waits first is the beginning of a source, or follows `begin_anew`."""
        return self.sessions[0].is_new

    def push(self, frame: Frame, is_cut: bool = False) -> None:
        """The frame is the newest; a new source drops what came from the old one. It is known by
        its frames, or, `is_cut`, by its writer."""
        if self.previous is None or is_cut or _is_cut(self.previous, frame.meta):
            self._begin_session(frame.meta)
        if self.previous is not None:
            self.gaps_ns.append(frame.meta.publish_ts_ns - self.previous.publish_ts_ns)
        self.previous = frame.meta
        session = self.sessions[-1]
        num_lockstep = sum(one.is_lockstep for one in self.waiting)
        if frame.is_lockstep:
            if num_lockstep < LOCKSTEP_FRAMES:
                session.frames.append(frame)
            else:
                self.dropped += 1
            return
        if not self.gate.leaves_room_for(frame.meta):
            self.dropped += 1
            return
        if not self.has_cut and self._is_after_stall(session, frame.meta):
            self._drop_ordinary()
            self.has_cut = True
        session.frames.append(frame)
        self._thin_out()

    def _is_after_stall(self, session: Session, meta: FrameMeta) -> bool:
        """Whether the source has stalled since it left what waits, which is too late now.

        Too few for a chunk are dropped sooner: with this frame they would make one of which a part
        is late by the whole stall. Without a bound nothing is dropped for its age.
        """
        wish = self.wish
        if not session.frames or not wish.max_age_ns or session.has_lockstep:
            return False
        gap_ns = meta.publish_ts_ns - session.frames[-1].meta.publish_ts_ns
        is_rest = len(session.frames) < wish.base_frames and wish.patience_ns > 0
        # No bound, however short, makes a stall of the time from one frame to the next.
        return gap_ns > (wish.patience_ns if is_rest else max(wish.patience_ns, wish.max_age_ns))

    def follow(self, wish: ChunkWish) -> None:
        """The wish holds from now on; for shorter chunks fewer frames wait."""
        self.wish = wish
        self._thin_out()

    def _thin_out(self) -> None:
        session = self.sessions[-1]
        num_ordinary = sum(not one.is_lockstep for one in self.waiting)
        for _ in range(num_ordinary - BACKLOG_CHUNKS * self.wish.num_frames):
            session.frames.pop(session.most_crowded())
            self.dropped += 1

    def _begin_session(self, first: FrameMeta) -> None:
        self._drop_ordinary()
        self.gate.begin()
        if not self.sessions[-1].frames:
            self.sessions.pop()
        self.sessions.append(Session(taken_number=first.frame - 1))

    def _drop_ordinary(self) -> None:
        session = self.sessions[-1]
        kept = [frame for frame in session.frames if frame.is_lockstep]
        self.dropped += len(session.frames) - len(kept)
        session.frames = kept

    def expire(self, now_ns: int, keep: int) -> None:
        """Frames older than is wished for are dropped, but for the newest `keep`.

        Not where a lock-step frame is among them: then all wait for their turn.
        """
        session = self.sessions[0]
        if session.has_lockstep or not self.wish.max_age_ns:
            return
        before_ns = now_ns - self.wish.max_age_ns
        old = sum(frame.meta.publish_ts_ns < before_ns for frame in session.frames)
        count = max(0, min(old, len(session.frames) - keep))
        session.frames = session.frames[count:]
        self.dropped += count

    def discard(self) -> None:
        """What waits is dropped, lock-step frames excepted; the stream goes on with the next."""
        self._drop_ordinary()
        if self.previous is not None:
            self.sessions[-1].taken_number = self.previous.frame

    def begin_anew(self) -> None:
        """What waits first begins a session, as the beginning of a source does."""
        self.sessions[0].is_new = True

    def next_count(self, first_frames: int, now_ns: int) -> int:
        """Frames of the next chunk, which wait, or some of them where the source has stopped; 0 =
        there are too few yet.

        A session that another one follows, with too few frames left for a chunk, is over: what it
        left is dropped. Chunks of lock-step frames are as started.
        """
        while True:
            session = self.sessions[0]
            count = self._count(session, first_frames, now_ns)
            if count or len(self.sessions) == 1:
                return count
            self.dropped += len(session.frames)
            self.sessions.pop(0)

    def _count(self, session: Session, first_frames: int, now_ns: int) -> int:
        num_waiting, wish = len(session.frames), self.wish
        least = first_frames if session.is_new else wish.base_frames
        if num_waiting < least:
            return least if self._is_rest(session, now_ns) else 0
        if session.is_new:
            return first_frames
        if session.has_lockstep:
            return wish.base_frames
        if num_waiting >= wish.num_frames:
            return wish.num_frames
        is_over = session is not self.sessions[-1]
        age_ns = now_ns - session.frames[0].meta.publish_ts_ns
        can_wait = wish.may_wait and not is_over and age_ns <= wish.patience_ns
        return 0 if can_wait else num_waiting - num_waiting % wish.base_frames

    def _is_rest(self, session: Session, now_ns: int) -> bool:
        """Whether the source has left too little for a chunk, and nothing follows."""
        if not session.frames or not self.wish.rest_ns or session.has_lockstep:
            return False
        # Bursts of frames are no stops: chunks of a few take an engine as long as full ones.
        usual_ns = min(STOP_GAPS * max(self.gaps_ns, default=0), MAX_SILENCE_NS)
        silent_ns = now_ns - session.frames[-1].meta.publish_ts_ns
        return session is self.sessions[-1] and silent_ns > max(self.wish.rest_ns, usual_ns)

    def take(self, count: int, keeps_up: bool, has_bursts: bool) -> list[Frame]:
        """The next chunk of `count` frames, oldest first; fewer where the source has stopped.

        With an engine that otherwise keeps up, up to half a chunk too many is jitter and waits for
        the next chunk; of a source that has bursts up to a chunk, as a silence follows. So does
        what a shorter chunk than wished for leaves. Else the engine is behind: `count` frames
        evenly spaced up to the newest are taken and the others dropped. While a lock-step frame
        waits, nothing is dropped.
        """
        session = self.sessions[0]
        num_waiting = len(session.frames)
        assert num_waiting, "take() before a frame came"
        count = min(count, num_waiting)
        is_jitter = keeps_up and num_waiting - count <= (count if has_bursts else count // 2)
        is_short = not session.is_new and count < self.wish.num_frames
        keeps_all = is_jitter or is_short or session.has_lockstep
        chosen = session.frames[:count] if keeps_all else session.spread(count)
        session.frames = session.frames[count:] if keeps_all else []
        self.dropped += num_waiting - len(session.frames) - count
        session.taken_number = chosen[-1].meta.frame
        session.is_new = False
        self.has_cut = False
        return chosen


def _is_cut(previous: FrameMeta, meta: FrameMeta) -> bool:
    """True if the frame belongs to another source than the previous one, or to another shape."""
    return (
        meta.frame <= previous.frame
        or FrameFlags.DISCONTINUITY in meta.flags
        or (meta.width, meta.height) != (previous.width, previous.height)
        or meta.pixel_format != previous.pixel_format
    )
