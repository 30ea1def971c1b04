"""A target rate has its frames, evenly, whatever a source says of when it captured them."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.host.rate_gate import RateGate
from sdv2_host.types import FrameMeta

START_NS = 1000 * NS_PER_S
CaptureFn = Callable[[int, int], int]
"""What is said of a frame's capture, from its number and the time it was published."""


def at_once(_number: int, published_ns: int) -> int:
    return published_ns


def kept(
    gate: RateGate,
    source_fps: float,
    numbers: range,
    capture: CaptureFn = at_once,
    jitter_ns: int = 0,
) -> list[int]:
    """Numbers of the frames that there is room for."""
    chance = random.Random(1)
    there: list[int] = []
    for number in numbers:
        jitter = chance.randint(-jitter_ns, jitter_ns)
        at_ns = START_NS + round(number * NS_PER_S / source_fps) + jitter
        meta = FrameMeta(
            2, 2, frame=number, publish_ts_ns=at_ns, capture_ts_ns=capture(number, at_ns)
        )
        if gate.leaves_room_for(meta):
            there.append(number)
    return there


@pytest.mark.parametrize(
    ("source_fps", "target_fps", "expected"),
    [(30, 0, 300), (30, 30, 300), (30, 60, 300), (30, 24, 240), (30, 15, 150), (60, 25, 125)],
)
def test_the_target_rate_keeps_so_many_frames_evenly(
    source_fps: float, target_fps: float, expected: int
) -> None:
    there = kept(RateGate(target_fps), source_fps, range(1, 301))

    assert abs(len(there) - expected) <= 2
    gaps = {b - a for a, b in pairwise(there)}
    assert max(gaps) - min(gaps) <= 1


def test_a_source_of_the_targets_own_rate_loses_nothing_to_jitter() -> None:
    there = kept(RateGate(30.0), 30, range(1, 301), jitter_ns=8 * NS_PER_MS)

    assert len(there) == 300


@pytest.mark.parametrize("slow_fps", [5e-324, 0.01, 1.0])
def test_a_higher_target_rate_holds_from_the_next_frame_on(slow_fps: float) -> None:
    gate = RateGate(slow_fps)
    few = kept(gate, 30, range(1, 31))

    gate.target_fps = 30.0

    assert len(few) <= 2
    assert kept(gate, 30, range(31, 35))[-3:] == [32, 33, 34]


def test_frames_that_come_in_bursts_are_chosen_by_when_they_were_captured() -> None:
    """Four at once, as a network brings them: every second of each."""

    def evenly(number: int, _: int) -> int:
        return START_NS + number * NS_PER_S // 30

    gate, there = RateGate(15.0), []
    for number in range(1, 301):
        at_ns = evenly(-(-number // 4) * 4, 0) + number % 4 * NS_PER_MS
        meta = FrameMeta(
            2, 2, frame=number, publish_ts_ns=at_ns, capture_ts_ns=evenly(number, at_ns)
        )
        if gate.leaves_room_for(meta):
            there.append(number)

    assert {b - a for a, b in pairwise(there)} == {2}


def stands_still(_number: int, _published_ns: int) -> int:
    return START_NS


def microseconds(_number: int, published_ns: int) -> int:
    return published_ns // 1000


def of_a_clock_that_runs_twice_as_fast(_number: int, published_ns: int) -> int:
    return START_NS + 2 * (published_ns - START_NS) - 10 * NS_PER_S


def of_a_short_loop(number: int, _published_ns: int) -> int:
    return START_NS - NS_PER_S + number % 40 * NS_PER_S // 30


@pytest.mark.parametrize(
    "capture",
    [stands_still, microseconds, of_a_clock_that_runs_twice_as_fast, of_a_short_loop],
)
def test_a_clock_of_capture_that_does_not_keep_time_is_given_up_within_two_seconds(
    capture: CaptureFn,
) -> None:
    gate = RateGate(15.0)
    kept(gate, 30, range(1, 61), capture)

    there = kept(gate, 30, range(61, 361), capture)

    assert len(there) == 150
    assert {b - a for a, b in pairwise(there)} == {2}


def test_another_source_has_its_own_clock() -> None:
    gate = RateGate(15.0)
    kept(gate, 30, range(1, 61), stands_still)

    gate.begin()

    far_ns = 3600 * NS_PER_S
    there = kept(gate, 30, range(61, 361), lambda number, _: far_ns + number * NS_PER_S // 30)
    assert {b - a for a, b in pairwise(there)} == {2}


def test_frames_out_of_order_do_not_lift_the_rate() -> None:
    """As a decoder that goes by the order of the file gives them: every fourth goes back."""
    shift = {0: 0, 1: 2, 2: -1, 3: -1}

    def decoded(number: int, published_ns: int) -> int:
        return published_ns + shift[number % 4] * NS_PER_S // 30

    there = kept(RateGate(15.0), 30, range(1, 301), decoded)

    assert abs(len(there) - 150) <= 2


def test_after_a_pause_the_target_rate_begins_anew() -> None:
    gate = RateGate(10.0)

    there = [
        gate.leaves_room_for(FrameMeta(2, 2, frame=n, publish_ts_ns=at_ns, capture_ts_ns=at_ns))
        for n, at_ns in enumerate((NS_PER_S, 100 * NS_PER_S, 100 * NS_PER_S + NS_PER_S // 10), 1)
    ]

    assert there == [True, True, True]


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    gate = RateGate(30.0)
    kept(gate, 30, range(1, 31))

    there = kept(gate, 30, range(31, 61), lambda _, at_ns: at_ns - 100 * NS_PER_S)

    assert len(there) >= 29
