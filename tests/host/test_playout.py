from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS
from sdv2_host.host.playout import CATCH_UP_NS, LATE_FRAMES, LOCKSTEP_QUIET_NS, Playout
from sdv2_host.types import Frame, FrameFlags, FrameMeta

PIXELS = np.zeros((2, 2, 4), np.uint8)
BEGIN_MS = 1000


def frame(number: int, due_ms: float) -> Frame:
    meta = FrameMeta(2, 2, source_frame=number, present_ts_ns=int((BEGIN_MS + due_ms) * NS_PER_MS))
    return Frame(meta, PIXELS)


@dataclass
class Screen:
    """A presenter without threads: time goes on by hand, in milliseconds from BEGIN_MS."""

    playout: Playout
    now_ms: int = 0
    shown: list[tuple[int, int, bool]] = field(default_factory=list)
    """(when, source frame, fresh)"""

    def run_until(self, end_ms: int) -> None:
        while self.now_ms < end_ms:
            shown = self.playout.decide((BEGIN_MS + self.now_ms) * NS_PER_MS)
            if shown is not None:
                number = shown.frame.meta.source_frame
                self.shown.append((self.now_ms, number, shown.is_fresh))
            self.now_ms += 1

    @property
    def fresh(self) -> list[tuple[int, int]]:
        return [(when, number) for when, number, is_fresh in self.shown if is_fresh]

    @property
    def repeats(self) -> list[tuple[int, int]]:
        return [(when, number) for when, number, is_fresh in self.shown if not is_fresh]


def test_each_frame_is_shown_when_it_is_due() -> None:
    screen = Screen(Playout())
    for number in range(8):
        screen.playout.offer(frame(number, due_ms=number * 40))

    screen.run_until(300)

    assert screen.fresh == [(number * 40, number) for number in range(8)]
    assert screen.repeats == []


def test_nothing_is_shown_before_the_first_frame() -> None:
    screen = Screen(Playout())

    screen.run_until(500)

    assert screen.shown == []
    assert screen.playout.next_ns() is None


def test_the_last_picture_is_repeated_at_the_cadence_while_nothing_comes() -> None:
    screen = Screen(Playout())
    for number in range(20):
        screen.playout.offer(frame(number, due_ms=number * 40))

    screen.run_until(1700)

    last_ms = 19 * 40
    times = [when for when, _ in screen.repeats]
    assert {number for _, number in screen.repeats} == {19}
    assert times[0] == pytest.approx(last_ms + 80, abs=3)
    assert np.allclose(np.diff(times), 40, atol=2)


def test_an_idle_output_repeats_ten_times_a_second() -> None:
    screen = Screen(Playout())
    screen.playout.offer(frame(1, due_ms=0))

    screen.run_until(5000)

    late = [when for when, _ in screen.repeats if when > 2000]
    assert np.allclose(np.diff(late), 100, atol=1)


def test_a_slightly_late_frame_is_not_preceded_by_a_repeat() -> None:
    screen = Screen(Playout())
    for number in range(4):
        screen.playout.offer(frame(number, due_ms=number * 33))
    screen.run_until(140)
    screen.playout.offer(frame(4, due_ms=132))

    screen.run_until(150)

    assert screen.repeats == []
    assert [number for _, number in screen.fresh] == [0, 1, 2, 3, 4]


def test_frames_up_to_a_chunk_late_are_all_shown_faster() -> None:
    screen = Screen(Playout())
    screen.playout.offer(frame(0, due_ms=0))
    screen.run_until(200)
    for number in range(1, 1 + LATE_FRAMES):
        screen.playout.offer(frame(number, due_ms=number * 33))

    screen.run_until(400)

    assert [number for _, number in screen.fresh] == [0, 1, 2, 3, 4]
    assert screen.playout.counts.skipped == 0


def test_more_than_a_chunk_late_jumps_to_the_newest_and_counts_the_others() -> None:
    screen = Screen(Playout())
    screen.playout.offer(frame(0, due_ms=0))
    screen.run_until(500)
    for number in range(1, 8):
        screen.playout.offer(frame(number, due_ms=number * 33))

    screen.run_until(600)

    assert [number for _, number in screen.fresh] == [0, 7]
    assert screen.playout.counts.skipped == 6


def test_freeze_holds_the_picture_and_release_shows_the_present() -> None:
    screen = Screen(Playout())
    for number in range(30):
        screen.playout.offer(frame(number, due_ms=number * 40))

    screen.run_until(100)
    screen.playout.freeze(True)
    screen.run_until(700)
    screen.playout.freeze(False)
    screen.run_until(1000)

    held = [number for when, number, _ in screen.shown if 100 <= when < 700]
    after = [number for when, number in screen.fresh if when >= 700]
    assert set(held) == {2}
    assert len(held) >= 12
    assert after[0] == 18


def test_frozen_before_the_first_frame_shows_one_picture() -> None:
    screen = Screen(Playout())
    screen.playout.freeze(True)
    for number in range(5):
        screen.playout.offer(frame(number, due_ms=number * 40))

    screen.run_until(300)

    assert [number for _, number in screen.fresh] == [0]
    assert {number for _, number in screen.repeats} == {0}


def test_an_own_clock_shows_the_newest_due_frame_at_each_tick() -> None:
    screen = Screen(Playout(tick_ns=50 * NS_PER_MS))
    for number in range(40):
        screen.playout.offer(frame(number, due_ms=number * 20))

    screen.run_until(1500)

    times = [when for when, _, _ in screen.shown]
    assert np.diff(times).tolist() == [50] * (len(times) - 1)
    assert [number for _, number in screen.fresh][:4] == [0, 2, 5, 7]
    assert screen.repeats[0] == (850, 39)


def test_an_own_clock_fills_up_a_slow_stream_with_repeats() -> None:
    screen = Screen(Playout(tick_ns=20 * NS_PER_MS))
    for number in range(5):
        screen.playout.offer(frame(number, due_ms=number * 100))

    screen.run_until(400)

    assert len(screen.shown) == 20
    assert [number for _, number in screen.fresh] == [0, 1, 2, 3]


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 150)), min_size=1, max_size=40),
    st.sampled_from([None, 40]),
)
def test_the_picture_never_stops_and_never_goes_back(
    arrivals: list[tuple[int, int]], tick_ms: int | None
) -> None:
    screen = Screen(Playout(tick_ms * NS_PER_MS if tick_ms else None))
    due_ms = 0
    for number, (wait_ms, ahead_ms) in enumerate(arrivals):
        screen.run_until(screen.now_ms + wait_ms)
        due_ms = max(due_ms + 1, screen.now_ms + ahead_ms)
        screen.playout.offer(frame(number, due_ms))
    screen.run_until(screen.now_ms + 600)

    numbers = [number for _, number, _ in screen.shown]
    times = [when for when, _, _ in screen.shown]
    assert numbers == sorted(numbers)
    assert [n for _, n in screen.fresh] == sorted({n for _, n in screen.fresh})
    assert max(np.diff(times), default=0) <= 400


def test_next_ns_names_the_moment_of_the_next_change() -> None:
    playout = Playout()
    playout.offer(frame(0, due_ms=0))
    playout.offer(frame(1, due_ms=40))
    playout.decide(BEGIN_MS * NS_PER_MS)

    assert playout.next_ns() == (BEGIN_MS + 40) * NS_PER_MS


def lockstep(number: int) -> Frame:
    return Frame(FrameMeta(2, 2, source_frame=number, flags=FrameFlags.LOCKSTEP), PIXELS)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 120), st.booleans()), max_size=20),
    st.sampled_from([None, 40]),
)
def test_lockstep_frames_are_answered_once_each_in_order_and_without_delay(
    rounds: list[tuple[int, int, bool]], tick_ms: int | None
) -> None:
    playout = Playout(tick_ms * NS_PER_MS if tick_ms else None)
    now, offered, answered = BEGIN_MS * NS_PER_MS, 0, []

    for num_frames, wait_ms, is_frozen in rounds:
        playout.freeze(is_frozen)
        for _ in range(num_frames):
            offered += 1
            playout.offer(lockstep(offered))
        for _ in range(num_frames):
            assert playout.next_ns() == 0
            shown = playout.decide(now)
            assert shown is not None
            assert shown.is_fresh
            answered.append((shown.turn_of or shown.frame.meta).source_frame)
        assert playout.next_lockstep is None
        now += wait_ms * NS_PER_MS

    assert answered == list(range(1, offered + 1))
    assert playout.counts == (offered, 0, 0)


def test_a_render_whose_clock_is_behind_is_answered_when_the_time_to_catch_up_is_over() -> None:
    playout = Playout()
    playout.offer(Frame(replace(frame(1, 0).meta, source_capture_ts_ns=10**18), PIXELS))
    playout.decide(BEGIN_MS * NS_PER_MS)
    playout.begin_catch_up(0)

    playout.offer(Frame(replace(lockstep(1).meta, publish_ts_ns=CATCH_UP_NS), PIXELS))
    assert playout.next_lockstep is None
    playout.offer(Frame(replace(lockstep(2).meta, publish_ts_ns=CATCH_UP_NS + 1), PIXELS))

    assert playout.next_lockstep is not None
    assert playout.next_lockstep.meta.source_frame == 2


def test_frozen_a_lockstep_frame_is_answered_with_the_held_picture() -> None:
    playout = Playout()
    playout.offer(lockstep(1))
    playout.decide(0)
    playout.freeze(True)
    playout.offer(lockstep(2))

    shown = playout.decide(0)

    assert shown is not None
    assert shown.frame.meta.source_frame == 1
    assert shown.turn_of is not None
    assert shown.turn_of.source_frame == 2
    again = playout.again(LOCKSTEP_QUIET_NS)
    assert again is not None
    assert again.turn_of == shown.turn_of  # the output does not go back


@pytest.mark.parametrize("tick_ms", [None, 20])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_lockstep_frame_is_shown_again_only_when_its_reader_had_time(
    tick_ms: int | None, is_frozen: bool
) -> None:
    screen = Screen(Playout(tick_ms * NS_PER_MS if tick_ms else None))
    screen.playout.offer(lockstep(1))
    screen.playout.freeze(is_frozen)

    screen.run_until(5000)

    quiet_ms = LOCKSTEP_QUIET_NS // NS_PER_MS
    assert screen.fresh == [(0, 1)]
    assert quiet_ms <= screen.repeats[0][0] <= quiet_ms + 100
    assert len(screen.repeats) >= 25


def test_ordinary_frames_after_a_render_are_shown_as_ever() -> None:
    screen = Screen(Playout())
    screen.playout.offer(lockstep(1))
    screen.run_until(10)
    for number in range(2, 8):
        screen.playout.offer(frame(number, due_ms=number * 40))

    screen.run_until(600)

    assert screen.fresh[1:] == [(number * 40, number) for number in range(2, 8)]
    assert screen.repeats != []


def test_what_waits_before_a_lockstep_frame_is_history() -> None:
    playout = Playout()
    for number in range(3):
        playout.offer(frame(number, due_ms=number * 40))
    playout.offer(lockstep(3))

    shown = playout.decide(BEGIN_MS * NS_PER_MS)

    assert shown is not None
    assert shown.frame.meta.source_frame == 3
    assert playout.counts == (1, 0, 3)
