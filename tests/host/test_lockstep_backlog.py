"""Laws of frames that must not be dropped, up to the engine."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.host.backlog import BACKLOG_CHUNKS, LOCKSTEP_FRAMES, Backlog, ChunkWish
from sdv2_host.host.intake import Intake
from sdv2_host.host.rate_gate import RateGate
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.types import Frame, FrameFlags, FrameMeta

PIXELS = np.zeros((2, 2, 4), np.uint8)
FIRST, CHUNK = 1, 4
BACKLOG_FRAMES = BACKLOG_CHUNKS * CHUNK
LOCKSTEP, ORDINARY = FrameFlags.LOCKSTEP, FrameFlags.NONE
BEGIN = FrameFlags.LOCKSTEP | FrameFlags.DISCONTINUITY


@dataclass
class Feed:
    """Numbered frames into a backlog, chunks out of it as the intake takes them."""

    backlog: Backlog = field(default_factory=Backlog)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    pushed: list[int] = field(default_factory=list)
    """Lock-step frames."""
    sessions: list[list[int]] = field(default_factory=list)
    """Numbers of the frames that were taken, by session."""

    def push(self, flags: FrameFlags, num_frames: int = 1) -> None:
        for _ in range(num_frames):
            meta = FrameMeta(2, 2, frame=next(self.numbers), flags=flags)
            self.backlog.push(Frame(meta, PIXELS))
            if FrameFlags.LOCKSTEP in flags:
                self.pushed.append(meta.frame)
            flags &= ~FrameFlags.DISCONTINUITY

    def take(self, keeps_up: bool = False) -> bool:
        """A chunk, if there is one."""
        count = self.backlog.next_count(FIRST, now_ns=0)
        if not count:
            return False
        if self.backlog.begins_session:
            self.sessions.append([])
        taken = self.backlog.take(count, keeps_up, has_bursts=False)
        self.sessions[-1] += [one.meta.frame for one in taken]
        return True

    def take_all(self) -> None:
        while self.take():
            pass

    @property
    def taken(self) -> list[int]:
        return [number for session in self.sessions for number in session]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.booleans()), max_size=30))
def test_of_lockstep_frames_each_is_taken_once_in_order_however_slow_the_engine(
    rounds: list[tuple[int, int, bool]],
) -> None:
    feed = Feed(Backlog(wish=ChunkWish(2 * CHUNK, CHUNK, max_age_ns=1)))
    feed.push(BEGIN)

    for num_arriving, num_chunks, keeps_up in rounds:
        room = LOCKSTEP_FRAMES - len(feed.backlog.waiting)
        feed.push(LOCKSTEP, min(num_arriving, room))
        feed.backlog.expire(10**18, keep=CHUNK)
        for _ in range(num_chunks):
            feed.take(keeps_up)
    feed.take_all()

    left = [one.meta.frame for one in feed.backlog.waiting]
    assert feed.taken + left == feed.pushed
    assert len(left) < CHUNK
    assert feed.backlog.dropped == 0


@given(
    st.lists(
        st.tuples(st.sampled_from([LOCKSTEP, ORDINARY]), st.integers(1, 9), st.booleans()),
        max_size=30,
    )
)
def test_among_ordinary_frames_no_lockstep_frame_is_lost(
    rounds: list[tuple[FrameFlags, int, bool]],
) -> None:
    feed = Feed()

    for flags, num_arriving, is_taken in rounds:
        feed.push(flags, num_arriving)
        num_waiting = len(feed.backlog.waiting)
        if is_taken or num_waiting > LOCKSTEP_FRAMES - 9:
            feed.take_all()
        assert num_waiting <= LOCKSTEP_FRAMES + BACKLOG_FRAMES
    feed.take_all()

    seen = {*feed.taken, *(one.meta.frame for one in feed.backlog.waiting)}
    assert feed.taken == sorted(set(feed.taken))
    assert set(feed.pushed) <= seen


def test_a_session_ends_with_its_last_whole_chunk_before_the_next_begins() -> None:
    feed = Feed()
    feed.push(BEGIN, 1 + 2 * CHUNK + 3)
    feed.push(BEGIN, 1 + CHUNK)
    feed.push(BEGIN, 2)

    feed.take_all()

    assert feed.sessions == [[*range(1, 10)], [*range(13, 18)], [18]]
    assert feed.backlog.dropped == 3


def test_ordinary_frames_that_begin_a_session_leave_the_lockstep_ones_before_them() -> None:
    feed = Feed()
    feed.push(BEGIN, 1 + CHUNK)
    feed.push(FrameFlags.DISCONTINUITY, 3)

    feed.take_all()

    assert feed.sessions[0] == [1, 2, 3, 4, 5]
    assert feed.sessions[1] == [8]


def test_ordinary_frames_are_dropped_where_a_lockstep_session_begins() -> None:
    feed = Feed()
    feed.push(ORDINARY, 9)
    feed.push(BEGIN, 1 + CHUNK)

    feed.take_all()

    assert feed.sessions == [[10, 11, 12, 13, 14]]
    assert feed.backlog.dropped == 9


@pytest.mark.parametrize("flags", [LOCKSTEP, BEGIN], ids=["one session", "sessions"])
def test_a_writer_that_never_waits_does_not_fill_the_memory(flags: FrameFlags) -> None:
    feed = Feed()

    for _ in range(1000):
        feed.push(flags)
        feed.push(ORDINARY)

    assert len(feed.backlog.waiting) <= LOCKSTEP_FRAMES + BACKLOG_FRAMES
    assert len(feed.backlog.sessions) <= LOCKSTEP_FRAMES + 1
    assert feed.backlog.dropped == 2000 - len(feed.backlog.waiting)
    assert feed.pushed[:LOCKSTEP_FRAMES] == [
        one.meta.frame for one in feed.backlog.waiting if FrameFlags.LOCKSTEP in one.meta.flags
    ]


def test_the_target_rate_is_not_for_lockstep_frames() -> None:
    backlog = Backlog(gate=RateGate(1.0))

    for number in range(1, 14):
        at_ns = 10**9 + number * 10**6
        meta = FrameMeta(2, 2, frame=number, flags=LOCKSTEP, capture_ts_ns=at_ns)
        backlog.push(Frame(meta, PIXELS))

    assert len(backlog.waiting) == 13


def test_a_pause_keeps_lockstep_frames_for_when_it_goes_on() -> None:
    feed = Feed()
    feed.push(BEGIN, 1 + CHUNK)
    feed.take()

    feed.backlog.discard()
    feed.push(LOCKSTEP, CHUNK)
    feed.push(ORDINARY, 2)
    feed.backlog.discard()
    feed.take_all()

    assert feed.sessions == [[*range(1, 10)]]
    assert feed.backlog.dropped == 2


class SlowReader(FrameReader):
    """Its first look takes as long as a thread may on a busy machine."""

    def read_newest(self) -> Frame | None:
        time.sleep(0.2)
        return super().read_newest()


def test_no_frame_is_passed_over_that_comes_once_the_intake_is_there(
    run_dir: Path, stream: str
) -> None:
    begin = FrameMeta(2, 2, flags=BEGIN)
    with FrameWriter(stream, slot_count=8, run_dir=run_dir) as writer:
        for _ in range(3):
            writer.publish(PIXELS, FrameMeta(2, 2))
        with Intake(SlowReader(stream, run_dir=run_dir), FIRST, CHUNK) as intake:
            writer.publish(PIXELS, begin)
            for _ in range(CHUNK):
                writer.publish(PIXELS, replace(begin, flags=LOCKSTEP))

            taken: list[int] = []
            while len(taken) < 1 + CHUNK:
                chunk = intake.next_chunk(10)
                assert chunk is not None
                taken += [one.meta.frame for one in chunk.frames if one.meta.flags]

    assert taken == [4, 5, 6, 7, 8]
