from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.host.outlet import MAX_LEAD_FRAMES, Outlet, Pacing, pace
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.types import Frame, FrameFlags, FrameMeta, StyledChunk

MS = NS_PER_MS
SECOND = 1000 * MS


def play(
    frame_ms: float, chunk_ms: float, num_chunks: int, jitter_ms: list[float]
) -> tuple[list[int], list[int]]:
    """Chunks of 4 at a steady pace with jitter: when each frame was done, when it is due."""
    pacing, done, due = Pacing(), [], []
    for index in range(num_chunks):
        now = int(SECOND + (index * chunk_ms + jitter_ms[index % len(jitter_ms)]) * MS)
        captures = [int(SECOND + (index * 4 + k) * frame_ms * MS) for k in range(4)]
        paced = pace(pacing, now, captures)
        pacing = paced.pacing
        done += [now] * 4
        due += paced.due_ns
    return done, due


@pytest.mark.parametrize(
    ("capture_ns", "publish_ns", "captured_ns"),
    [
        (3 * SECOND, 4 * SECOND, 3 * SECOND),
        (0, 4 * SECOND, 4 * SECOND),  # the writer does not say
        (4 * SECOND + 1, 4 * SECOND, 4 * SECOND + 1),  # clocks are coarse
        (1_700_000_000 * SECOND, 4 * SECOND, 4 * SECOND),  # the time of day
        (3 * SECOND, 0, 3 * SECOND),  # not published yet
    ],
)
def test_a_capture_time_of_another_clock_is_none(
    capture_ns: int, publish_ns: int, captured_ns: int
) -> None:
    meta = FrameMeta(2, 2, capture_ts_ns=capture_ns, publish_ts_ns=publish_ns)

    assert meta.captured_ns == captured_ns


def test_the_first_frame_is_due_at_once() -> None:
    paced = pace(Pacing(), 5 * SECOND, [SECOND])

    assert paced.due_ns == [5 * SECOND]


def test_a_steady_source_gives_a_steady_output() -> None:
    _, due = play(frame_ms=40, chunk_ms=160, num_chunks=20, jitter_ms=[0])

    gaps_ms = np.diff(due)[8:] / MS
    assert np.allclose(gaps_ms, 40, atol=0.5)


def test_jitter_of_the_engine_is_not_seen_on_the_output() -> None:
    _, due = play(frame_ms=40, chunk_ms=160, num_chunks=60, jitter_ms=[0, 12, 3, 15, 7, 1])

    gaps_ms = np.diff(due)[40:] / MS
    assert gaps_ms.min() > 25
    assert gaps_ms.max() < 55


def test_an_engine_at_half_speed_is_shown_at_half_speed() -> None:
    # 8 source frames of 40 ms a chunk, of which the intake takes 4.
    _, due = play(frame_ms=80, chunk_ms=320, num_chunks=20, jitter_ms=[0])

    assert np.allclose(np.diff(due)[8:] / MS, 80, atol=1)


def test_without_capture_times_the_chunk_period_decides() -> None:
    pacing, due = Pacing(), []
    for index in range(1, 20):
        paced = pace(pacing, index * 200 * MS, [0, 0, 0, 0])
        pacing = paced.pacing
        due += paced.due_ns

    assert np.allclose(np.diff(due)[12:] / MS, 50, atol=1)


def test_a_source_that_paused_does_not_slow_the_output_for_long() -> None:
    pacing = Pacing()
    now, capture = SECOND, SECOND
    for index in range(30):
        pause = 10 * SECOND if index == 15 else 0
        now, capture = now + 132 * MS + pause, capture + 132 * MS + pause
        pacing = pace(pacing, now, [capture - k * 33 * MS for k in (3, 2, 1, 0)]).pacing

    assert pacing.interval_ns == pytest.approx(33 * MS, rel=0.05)


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 4)), min_size=1, max_size=40))
def test_due_times_rise_and_never_lie_far_ahead(chunks: list[tuple[int, int]]) -> None:
    pacing, now, previous = Pacing(), SECOND, 0
    for gap_ms, count in chunks:
        now += gap_ms * MS
        paced = pace(pacing, now, [now - (count - k) * 20 * MS for k in range(count)])
        pacing = paced.pacing

        assert paced.due_ns[0] > previous
        assert paced.due_ns == sorted(set(paced.due_ns))
        assert paced.due_ns[0] >= now
        previous = paced.due_ns[-1]


def test_the_lead_of_a_steady_engine_is_bounded() -> None:
    done, due = play(frame_ms=33, chunk_ms=132, num_chunks=100, jitter_ms=[0, 60, 0, 0, 0])

    added_ms = (np.array(due[::4]) - np.array(done[::4])) / MS
    assert added_ms.max() <= MAX_LEAD_FRAMES * 33 * 1.3


def input_frame(number: int, capture_ns: int) -> Frame:
    meta = FrameMeta(2, 2, frame=number, capture_ts_ns=capture_ns)
    return Frame(meta, np.zeros((2, 2, 4), np.uint8))


def test_frames_carry_their_source_their_version_and_their_due_time(
    run_dir: Path, stream: str
) -> None:
    styled = StyledChunk(np.arange(32, dtype=np.uint8).reshape(2, 2, 2, 4), {}, {})
    captured_ns = now_ns()
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        outlet.expect([input_frame(7, captured_ns), input_frame(9, captured_ns + 5)])
        outlet.publish(styled, version=3)
        frames = [reader.read_next(), reader.read_next()]

    first, second = (frame for frame in frames if frame is not None)
    assert (first.meta.source_frame, second.meta.source_frame) == (7, 9)
    assert second.meta.source_capture_ts_ns == captured_ns + 5
    assert first.meta.user_tag == second.meta.user_tag == 3
    assert captured_ns < first.meta.present_ts_ns < second.meta.present_ts_ns
    assert np.array_equal(second.pixels, styled.frames[1])


def test_frames_that_an_engine_returns_later_keep_their_source(run_dir: Path, stream: str) -> None:
    nothing = StyledChunk(np.zeros((0, 2, 2, 4), np.uint8), {}, {})
    both = StyledChunk(np.zeros((2, 2, 2, 4), np.uint8), {}, {})
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        outlet.expect([input_frame(1, now_ns())])
        outlet.publish(nothing, version=1)
        outlet.expect([input_frame(2, now_ns())])
        outlet.publish(both, version=1)
        frames = [reader.read_next(), reader.read_next()]

    assert [frame.meta.source_frame for frame in frames if frame is not None] == [1, 2]


def test_pictures_of_frames_that_were_given_once_more_are_not_shown(
    run_dir: Path, stream: str
) -> None:
    nothing = StyledChunk(np.zeros((0, 2, 2, 4), np.uint8), {}, {})
    numbered = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(16, axis=1)
    styled = StyledChunk(numbered.reshape(5, 2, 2, 4), {}, {})
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        one, two, three = (input_frame(number, now_ns()) for number in (1, 2, 3))
        outlet.expect([one, two, two, two], num_repeated=2)
        outlet.publish(nothing, version=1)
        num_in_flight = outlet.num_in_flight
        outlet.expect([three])
        outlet.publish(styled, version=1)
        frames = [reader.read_next() for _ in range(4)]
        outlet.expect([one, two, two, two], num_repeated=2)
        outlet.restart()

    shown = [frame for frame in frames if frame is not None]
    assert num_in_flight == 4
    assert [frame.meta.source_frame for frame in shown] == [1, 2, 3]
    assert [int(frame.pixels.max()) for frame in shown] == [0, 1, 4]
    assert outlet.num_lost == 2


def test_pictures_of_lockstep_frames_say_so_and_are_due_at_once(run_dir: Path, stream: str) -> None:
    two = StyledChunk(np.zeros((2, 2, 2, 4), np.uint8), {}, {})
    flags = FrameFlags.LOCKSTEP | FrameFlags.DISCONTINUITY
    render = [
        Frame(replace(one.meta, flags=flags), one.pixels)
        for one in (input_frame(1, now_ns()), input_frame(2, now_ns()))
    ]
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        outlet.expect(render)
        outlet.publish(two, version=1)
        outlet.expect([input_frame(3, now_ns()), input_frame(4, now_ns())])
        outlet.publish(two, version=1)
        frames = [reader.read_next() for _ in range(4)]

    metas = [frame.meta for frame in frames if frame is not None]
    assert [meta.flags for meta in metas] == [FrameFlags.LOCKSTEP] * 2 + [FrameFlags.NONE] * 2
    assert [meta.present_ts_ns for meta in metas[:2]] == [0, 0]
    assert 0 < metas[2].present_ts_ns < metas[3].present_ts_ns


def test_frames_that_an_engine_held_back_when_their_session_ended_are_counted(
    run_dir: Path, stream: str
) -> None:
    nothing = StyledChunk(np.zeros((0, 2, 2, 4), np.uint8), {}, {})
    both = StyledChunk(np.zeros((2, 2, 2, 4), np.uint8), {}, {})
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        outlet.expect([input_frame(number, now_ns()) for number in (1, 2, 3)])
        outlet.publish(nothing, version=1)
        outlet.restart()
        outlet.expect([input_frame(number, now_ns()) for number in (1, 2)])
        outlet.publish(both, version=1)
        frames = [reader.read_next(), reader.read_next(), reader.read_next()]

    assert outlet.num_lost == 3
    assert [frame.meta.source_frame for frame in frames if frame is not None] == [1, 2]


def test_pictures_that_no_ring_has_room_for_are_lost_with_a_reason_and_smaller_ones_are_shown(
    run_dir: Path, stream: str
) -> None:
    huge = StyledChunk(np.broadcast_to(np.uint8(7), (2, 4100, 2048, 4)), {}, {})
    small = StyledChunk(np.zeros((2, 2, 2, 4), np.uint8), {}, {})
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, slot_count=64, run_dir=run_dir)) as outlet,
    ):
        outlet.expect([input_frame(number, now_ns()) for number in (1, 2, 3, 4)])
        outlet.publish(huge, version=1)
        problem, num_lost = outlet.problem, outlet.num_lost
        outlet.publish(small, version=1)
        frames = [reader.read_next(), reader.read_next(), reader.read_next()]

    assert "pictures of 2048x4100 are not shown: a ring of 64 slots" in problem
    assert (num_lost, outlet.num_lost, outlet.problem) == (2, 2, "")
    assert [frame.meta.source_frame for frame in frames if frame is not None] == [3, 4]
