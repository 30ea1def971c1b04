from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.host.backlog import BACKLOG_CHUNKS, Backlog, ChunkWish
from sdv2_host.host.intake import Intake, IntakeChunk
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.types import Frame, FrameFlags, FrameMeta, PixelFormat
from tests.ipc import ring_process

BACKLOG_FRAMES = BACKLOG_CHUNKS * 4
PIXELS = np.zeros((2, 2, 4), np.uint8)


def frame(number: int, **changes: object) -> Frame:
    meta = replace(FrameMeta(width=2, height=2, frame=number), **changes)  # type: ignore[arg-type]
    return Frame(meta, PIXELS)


def numbers(frames: list[Frame]) -> list[int]:
    return [one.meta.frame for one in frames]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), min_size=1, max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_every_frame_is_taken_once_in_order_or_counted_as_dropped(
    rounds: list[tuple[int, int]], keeps_up: bool, has_bursts: bool
) -> None:
    backlog = Backlog()
    counter = itertools.count(1)
    taken: list[int] = []
    pushed = 0

    for arriving, count in rounds:
        for _ in range(arriving):
            backlog.push(frame(next(counter)))
        pushed += arriving
        if len(backlog.waiting) >= count:
            taken += numbers(backlog.take(count, keeps_up, has_bursts))

        assert len(backlog.waiting) <= BACKLOG_FRAMES
        assert len(taken) + backlog.dropped + len(backlog.waiting) == pushed
    assert taken == sorted(set(taken))


@pytest.mark.parametrize("arriving", range(5, 100))
def test_an_engine_that_is_behind_gets_the_newest_and_even_spacing(arriving: int) -> None:
    backlog = Backlog()
    for number in range(1, arriving + 1):
        backlog.push(frame(number))

    taken = numbers(backlog.take(4, keeps_up=False, has_bursts=False))

    gaps = np.diff([0, *taken])
    assert taken[-1] == arriving
    assert backlog.waiting == []
    # Within the backlog to the frame; past it by the distance that the kept frames have.
    assert gaps.max() - gaps.min() <= max(1, 2.5 * arriving / BACKLOG_FRAMES)


def test_an_engine_that_keeps_up_loses_nothing_to_jitter() -> None:
    backlog = Backlog()
    counter = itertools.count(1)
    taken: list[int] = []

    for arriving in (4, 5, 3, 5, 4, 3, 5, 4):
        for _ in range(arriving):
            backlog.push(frame(next(counter)))
        taken += numbers(backlog.take(4, keeps_up=True, has_bursts=False))

    assert backlog.dropped == 0
    assert taken == list(range(1, 33))


def test_latency_never_grows_under_constant_overload() -> None:
    backlog = Backlog()
    counter = itertools.count(1)

    for _ in range(200):
        newest = 0
        for _ in range(7):
            newest = next(counter)
            backlog.push(frame(newest))
        taken = numbers(backlog.take(4, keeps_up=False, has_bursts=False))

        assert newest == taken[-1]


def test_the_first_chunk_begins_a_session() -> None:
    assert Backlog().begins_session


@pytest.mark.parametrize(
    "cut",
    [
        frame(3),
        frame(9, flags=FrameFlags.DISCONTINUITY),
        frame(9, width=4),
        frame(9, pixel_format=PixelFormat.BGRA8),
    ],
    ids=["older number", "flag", "size", "format"],
)
def test_another_source_drops_what_waits_and_begins_a_session(cut: Frame) -> None:
    backlog = Backlog()
    backlog.push(frame(5))
    backlog.take(1, keeps_up=True, has_bursts=False)
    for number in (6, 7):
        backlog.push(frame(number))
    assert not backlog.begins_session

    backlog.push(cut)

    assert backlog.begins_session
    assert backlog.dropped == 2
    assert backlog.waiting == [cut]


def test_a_cut_is_seen_although_nothing_waits() -> None:
    backlog = Backlog()
    backlog.push(frame(5))
    backlog.take(1, keeps_up=True, has_bursts=False)

    backlog.push(frame(1))

    assert backlog.begins_session


def wait_for_chunk(intake: Intake) -> IntakeChunk:
    for _ in range(50):
        if (chunk := intake.next_chunk(0.1)) is not None:
            return chunk
    raise AssertionError("no chunk within 5 s")


def test_a_source_that_stops_leaves_no_frame_behind(run_dir: Path, stream: str) -> None:
    with (
        FrameWriter(stream, slot_count=16, run_dir=run_dir) as writer,
        Intake(FrameReader(stream, run_dir=run_dir), 1, 4) as intake,
    ):
        intake.follow(0.0, ChunkWish(4, 4, rest_ns=50_000_000))
        writer.publish(PIXELS, FrameMeta(2, 2))
        chunks = [wait_for_chunk(intake)]
        for _ in range(6):
            writer.publish(PIXELS, FrameMeta(2, 2))
        chunks += [wait_for_chunk(intake), wait_for_chunk(intake)]
        counts = intake.counts

    assert [numbers(chunk.frames) for chunk in chunks] == [[1], [2, 3, 4, 5], [6, 7, 7, 7]]
    assert [chunk.num_repeated for chunk in chunks] == [0, 0, 2]
    assert (counts.frames_in, counts.taken, counts.dropped) == (7, 7, 0)


def test_a_source_that_stops_before_there_are_enough_to_begin_with_is_shown_too(
    run_dir: Path, stream: str
) -> None:
    """As the reference begins: with five. A picture is published once and stands."""
    with (
        FrameWriter(stream, slot_count=16, run_dir=run_dir) as writer,
        Intake(FrameReader(stream, run_dir=run_dir), 5, 4) as intake,
    ):
        intake.follow(0.0, ChunkWish(4, 4, rest_ns=50_000_000))
        for _ in range(3):
            writer.publish(PIXELS, FrameMeta(2, 2))
        first = wait_for_chunk(intake)
        for _ in range(4):
            writer.publish(PIXELS, FrameMeta(2, 2))
        second = wait_for_chunk(intake)

    assert (first.begins_session, second.begins_session) == (True, False)
    assert numbers(first.frames) == [1, 2, 3, 3, 3]
    assert first.num_repeated == 2
    assert numbers(second.frames) == [4, 5, 6, 7]


def test_a_ring_is_read_one_frame_and_then_chunks(run_dir: Path, stream: str) -> None:
    with (
        FrameWriter(stream, slot_count=16, run_dir=run_dir) as writer,
        Intake(FrameReader(stream, run_dir=run_dir), 1, 4) as intake,
    ):
        writer.publish(PIXELS, FrameMeta(2, 2))
        first = wait_for_chunk(intake)
        for _ in range(4):
            writer.publish(PIXELS, FrameMeta(2, 2))
        second = wait_for_chunk(intake)

        assert (first.begins_session, second.begins_session) == (True, False)
        assert numbers(first.frames) == [1]
        assert numbers(second.frames) == [2, 3, 4, 5]
        assert intake.counts == (5, 5, 0, 0)


def test_a_source_that_stalls_gives_none_after_the_timeout(run_dir: Path, stream: str) -> None:
    with Intake(FrameReader(stream, run_dir=run_dir), 1, 4) as intake:
        begin = time.perf_counter()

        chunk = intake.next_chunk(0.05)

        assert chunk is None
        assert 0.04 < time.perf_counter() - begin < 1.0


def test_what_a_source_left_before_the_start_is_history(run_dir: Path, stream: str) -> None:
    with FrameWriter(stream, run_dir=run_dir) as writer:
        for _ in range(3):
            writer.publish(PIXELS, FrameMeta(2, 2))
        with Intake(FrameReader(stream, run_dir=run_dir), 1, 4) as intake:
            chunk = wait_for_chunk(intake)

            assert numbers(chunk.frames) == [3]
            assert intake.counts.dropped == 0


def test_a_source_that_restarts_begins_a_session_without_a_stall(
    run_dir: Path, stream: str
) -> None:
    with Intake(FrameReader(stream, run_dir=run_dir), 1, 4) as intake:
        with FrameWriter(stream, slot_count=16, run_dir=run_dir) as writer:
            writer.publish(PIXELS, FrameMeta(2, 2))
            wait_for_chunk(intake)
            for _ in range(4):
                writer.publish(PIXELS, FrameMeta(2, 2))
            wait_for_chunk(intake)
        with FrameWriter(stream, run_dir=run_dir) as writer:
            writer.publish(PIXELS, FrameMeta(2, 2))
            chunk = wait_for_chunk(intake)

    assert chunk.begins_session
    assert numbers(chunk.frames) == [1]


@pytest.mark.parametrize("num_old", [1, 9])
def test_another_writer_begins_a_session_although_its_numbers_go_on(
    run_dir: Path, tmp_path: Path, stream: str, num_old: int
) -> None:
    """It is found after a tenth of a second, and a fast one is past the other's numbers by then."""
    segments = SegmentStore(tmp_path)
    old = ring_process.start("hold", run_dir, tmp_path, stream, num_old)
    pixels, meta = np.zeros((8, 8, 4), np.uint8), FrameMeta(8, 8)
    reader = FrameReader(stream, run_dir=run_dir, segments=segments)
    with Intake(reader, 1, 4) as intake:
        before = wait_for_chunk(intake)
        old.kill()
        old.wait()
        with FrameWriter(stream, run_dir=run_dir, segments=segments) as writer:
            for _ in range(num_old + 12):
                writer.publish(pixels, meta)
            chunk = wait_for_chunk(intake)

    assert numbers(before.frames) == [num_old]
    assert chunk.begins_session
    assert chunk.frames[0].meta.frame > num_old


def test_frames_past_the_bound_are_dropped_and_counted_but_a_chunk_stays() -> None:
    backlog = Backlog(wish=ChunkWish(4, 4, max_age_ns=150))
    for number in range(1, 9):
        backlog.push(frame(number, publish_ts_ns=number * 100))

    backlog.expire(800, keep=4)
    assert [one.meta.frame for one in backlog.waiting] == [5, 6, 7, 8]

    backlog.expire(10_000, keep=2)
    assert [one.meta.frame for one in backlog.waiting] == [7, 8]
    assert backlog.dropped == 6


def test_what_is_discarded_is_dropped_and_the_session_goes_on() -> None:
    backlog = Backlog()
    for number in range(1, 6):
        backlog.push(frame(number))
    backlog.take(4, keeps_up=True, has_bursts=False)

    backlog.discard()
    backlog.push(frame(6))

    assert backlog.dropped == 1
    assert not backlog.begins_session
    assert [one.meta.frame for one in backlog.waiting] == [6]


def test_a_longer_chunk_waits_for_a_source_only_as_long_as_its_rate_says() -> None:
    backlog = Backlog(wish=ChunkWish(8, 4, patience_ns=500))
    backlog.push(frame(1))
    backlog.take(1, keeps_up=True, has_bursts=False)
    for number in range(2, 8):
        backlog.push(frame(number, publish_ts_ns=number * 100))

    counts = [backlog.next_count(1, now_ns) for now_ns in (650, 700, 701)]
    backlog.take(4, keeps_up=True, has_bursts=False)

    assert counts == [0, 0, 4]
    assert backlog.next_count(1, 10_000) == 0  # the two that are left are no chunk


@pytest.mark.parametrize(
    ("num_left", "silent_ns", "rest_ns", "flags", "expected"),
    [
        (2, 501, 500, FrameFlags.NONE, 4),
        (3, 501, 500, FrameFlags.NONE, 4),
        (2, 500, 500, FrameFlags.NONE, 0),  # another may still come
        (0, 501, 500, FrameFlags.NONE, 0),
        (2, 10_000, 0, FrameFlags.NONE, 0),
        (2, 10_000, 500, FrameFlags.LOCKSTEP, 0),  # whose client sends whole chunks
    ],
)
def test_what_a_source_left_when_it_stopped_is_a_chunk_of_fewer_frames(
    num_left: int, silent_ns: int, rest_ns: int, flags: FrameFlags, expected: int
) -> None:
    backlog = Backlog(wish=ChunkWish(8, 4, patience_ns=600, rest_ns=rest_ns))
    backlog.push(frame(1, publish_ts_ns=900))
    backlog.take(1, keeps_up=True, has_bursts=False)
    for number in range(2, 2 + num_left):
        backlog.push(frame(number, publish_ts_ns=1000, flags=flags))

    count = backlog.next_count(1, now_ns=1000 + silent_ns)
    rest = backlog.take(count, keeps_up=True, has_bursts=False) if count else []
    left = numbers(backlog.waiting)

    assert count == expected
    assert [*numbers(rest), *left] == list(range(2, 2 + num_left))
    assert bool(rest) == bool(expected)
    assert backlog.dropped == 0


@pytest.mark.parametrize(
    ("gap_ns", "silent_ns", "expected"),
    [
        (10**6, 1_250_000, 0),  # as often before
        (10**6, 1_250_001, 4),
        (60 * 10**9, 10**9, 0),
        (60 * 10**9, 10**9 + 1, 4),  # of a source that publishes once a minute, too
    ],
)
def test_the_time_between_bursts_is_no_stop(gap_ns: int, silent_ns: int, expected: int) -> None:
    backlog = Backlog(wish=ChunkWish(4, 4, rest_ns=500))
    backlog.push(frame(1, publish_ts_ns=1))
    backlog.take(1, keeps_up=True, has_bursts=False)
    for number in range(2, 8):
        backlog.push(frame(number, publish_ts_ns=gap_ns if number < 5 else 2 * gap_ns))
    backlog.take(4, keeps_up=True, has_bursts=False)

    assert numbers(backlog.waiting) == [6, 7]
    assert backlog.next_count(1, 2 * gap_ns + silent_ns) == expected


def test_what_a_source_left_before_a_stall_is_dropped_once_it_is_too_late_for_the_bound() -> None:
    backlog = Backlog(wish=ChunkWish(4, 4, max_age_ns=500))
    for number, at_ns in ((1, 100), (2, 200), (3, 700), (4, 1201)):
        backlog.push(frame(number, publish_ts_ns=at_ns))

    assert numbers(backlog.waiting) == [4]
    assert backlog.dropped == 3


@pytest.mark.parametrize(
    ("num_before", "patience_ns", "max_age_ns", "num_left"),
    [
        (3, 600, 5000, 1),  # a rest that no chunk will be made of before the source goes on
        (4, 600, 5000, 5),  # a whole chunk, which the engine is still too busy for
        (3, 900, 5000, 4),  # no stall
        (3, 600, 0, 4),  # no bound
        (3, 0, 5000, 4),  # no rate known
        (4, 600, 700, 1),  # too late in any case
        (3, 900, 1, 4),  # a bound that no frame can keep is no stall
        (4, 900, 1, 5),
    ],
)
def test_a_rest_from_before_a_stall_is_in_no_chunk_with_frames_from_after_it(
    num_before: int, patience_ns: int, max_age_ns: int, num_left: int
) -> None:
    backlog = Backlog(wish=ChunkWish(4, 4, patience_ns=patience_ns, max_age_ns=max_age_ns))
    for number in range(num_before):
        backlog.push(frame(number + 1, publish_ts_ns=100))

    backlog.push(frame(num_before + 1, publish_ts_ns=900))

    assert len(backlog.waiting) == num_left
    assert backlog.dropped == num_before + 1 - num_left


def test_a_source_whose_frames_all_come_after_a_stall_still_fills_chunks() -> None:
    backlog = Backlog(wish=ChunkWish(4, 4, patience_ns=600, max_age_ns=1))

    for number in range(1, 7):
        backlog.push(frame(number, publish_ts_ns=number * 10_000))

    assert [one.meta.frame for one in backlog.waiting] == [2, 3, 4, 5, 6]
    backlog.take(4, keeps_up=True, has_bursts=False)
    backlog.push(frame(7, publish_ts_ns=70_000))
    assert [one.meta.frame for one in backlog.waiting] == [7]


def test_a_longer_chunk_is_taken_whole_once_it_is_full() -> None:
    backlog = Backlog(wish=ChunkWish(8, 4, patience_ns=500))
    backlog.push(frame(1))
    backlog.take(1, keeps_up=True, has_bursts=False)
    for number in range(2, 10):
        backlog.push(frame(number, publish_ts_ns=number * 100))

    assert backlog.next_count(1, 0) == 8
    assert numbers(backlog.take(8, keeps_up=True, has_bursts=False)) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_an_engine_that_is_behind_makes_short_chunks_rather_than_wait_and_drops_nothing() -> None:
    backlog = Backlog(wish=ChunkWish(8, 4, patience_ns=500, may_wait=False))
    backlog.push(frame(1))
    backlog.take(1, keeps_up=False, has_bursts=False)
    for number in range(2, 8):
        backlog.push(frame(number, publish_ts_ns=100))

    count = backlog.next_count(1, now_ns=100)
    chunk = backlog.take(count, keeps_up=False, has_bursts=False)

    assert numbers(chunk) == [2, 3, 4, 5]
    assert [one.meta.frame for one in backlog.waiting] == [6, 7]
    assert backlog.dropped == 0


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from([4, 8, 12])), max_size=30))
def test_no_more_than_two_chunks_wait_whatever_their_length(
    rounds: list[tuple[int, int]],
) -> None:
    backlog = Backlog()
    counter = itertools.count(1)
    taken: list[int] = []

    for arriving, length in rounds:
        backlog.follow(ChunkWish(length, 4))
        for _ in range(arriving):
            backlog.push(frame(next(counter)))
        waited = len(backlog.waiting)
        if count := backlog.next_count(1, 10**18):
            taken += numbers(backlog.take(count, keeps_up=False, has_bursts=False))

        assert waited <= 2 * length
        assert len(taken) + backlog.dropped + len(backlog.waiting) == next(counter) - 1
        counter = itertools.count(len(taken) + backlog.dropped + len(backlog.waiting) + 1)
    assert taken == sorted(set(taken))
