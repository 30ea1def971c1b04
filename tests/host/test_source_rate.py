from __future__ import annotations

import random

import pytest

from sdv2_host.host.source_rate import SourceRate
from sdv2_host.types import FrameMeta


def feed(rate: SourceRate, fps: float, count: int, after_ns: int = 0, first: int = 1) -> int:
    """Time of the last of `count` frames."""
    at_ns = after_ns
    for number in range(first, first + count):
        at_ns += round(1e9 / fps)
        rate.push(FrameMeta(2, 2, frame=number, publish_ts_ns=at_ns))
    return at_ns


def test_the_rate_is_not_known_before_some_frames_came() -> None:
    rate = SourceRate()

    feed(rate, 30, 3)

    assert rate.fps == 0


@pytest.mark.parametrize("fps", [1, 16, 24, 30, 60, 120])
def test_the_rate_is_that_of_the_frames(fps: float) -> None:
    rate = SourceRate()

    feed(rate, fps, 20)

    assert rate.fps == pytest.approx(fps, rel=0.001)


def test_jitter_of_half_a_frame_is_a_matter_of_percents() -> None:
    rate, chance = SourceRate(), random.Random(3)
    for number in range(1, 40):
        at_ns = 10**9 + number * 33_333_333 + chance.randint(-16_000_000, 16_000_000)
        rate.push(FrameMeta(2, 2, frame=number, publish_ts_ns=at_ns))

    assert rate.fps == pytest.approx(30, rel=0.07)


def test_a_new_rate_is_followed_within_seventeen_frames() -> None:
    rate = SourceRate()
    at_ns = feed(rate, 24, 40)

    at_ns = feed(rate, 60, 17, at_ns, first=41)
    assert rate.fps == pytest.approx(60, rel=0.001)

    feed(rate, 5, 5, at_ns, first=58)
    assert rate.fps == pytest.approx(5, rel=0.001)


def test_a_stall_is_no_rate() -> None:
    rate = SourceRate()
    at_ns = feed(rate, 30, 40)

    feed(rate, 30, 10, at_ns + 3 * 10**9, first=41)

    assert rate.fps == pytest.approx(30, rel=0.001)


def test_frames_that_were_missed_count() -> None:
    rate = SourceRate()
    for number in range(1, 60, 3):
        rate.push(FrameMeta(2, 2, frame=number, publish_ts_ns=number * 10**9 // 30))

    assert rate.fps == pytest.approx(30, rel=0.001)


def test_another_source_has_a_rate_of_its_own() -> None:
    rate = SourceRate()
    at_ns = feed(rate, 30, 40)

    feed(rate, 60, 5, at_ns, first=1)

    assert rate.fps == pytest.approx(60, rel=0.001)


def bursts(rate: SourceRate, sizes: list[int], period_ms: float, after_ns: int = 0) -> list[float]:
    """What is said of each frame; those of a burst are a millisecond apart."""
    said, number = [], 1
    for index, size in enumerate(sizes):
        for k in range(size):
            at_ns = after_ns + round((1000 + index * period_ms + k) * 1e6)
            rate.push(FrameMeta(2, 2, frame=number, publish_ts_ns=at_ns))
            said.append(rate.fps)
            number += 1
    return said


@pytest.mark.parametrize("size", [2, 3, 4, 8, 16])
def test_of_bursts_the_rate_is_that_over_time(size: int) -> None:
    rate = SourceRate()

    said = bursts(rate, [size] * 12, 1000 * size / 30)

    assert said[-1] == pytest.approx(30, rel=0.001)
    assert max(said) < 31
    assert rate.has_bursts


def test_bursts_of_any_size_are_averaged() -> None:
    chance = random.Random(5)
    sizes = [chance.randint(2, 6) for _ in range(40)]

    said = bursts(SourceRate(), sizes, 1000 * 4 / 30)

    assert 20 < min(said[40:]) < max(said[40:]) < 40


def test_a_stall_between_bursts_is_no_rate() -> None:
    rate = SourceRate()
    bursts(rate, [4] * 6, 1000 * 4 / 30)

    said = []
    for index in range(6):
        for k in range(4):
            at_ns = 10 * 10**9 + round((index * 1000 * 4 / 30 + k) * 1e6)
            rate.push(FrameMeta(2, 2, frame=25 + 4 * index + k, publish_ts_ns=at_ns))
            said.append(rate.fps)

    assert said == pytest.approx([30] * len(said), rel=0.001)


def test_when_frames_come_one_by_one_again_theirs_is_the_rate() -> None:
    rate = SourceRate()
    bursts(rate, [4] * 6, 1000 * 4 / 30)
    assert rate.has_bursts

    feed(rate, 50, 17, round(1e9 + 5 * 133e6 + 3e6), first=25)

    assert rate.fps == pytest.approx(50, rel=0.01)
    assert not rate.has_bursts


def test_a_hiccup_is_no_burst() -> None:
    rate = SourceRate()
    at_ns = feed(rate, 30, 40)
    at_ns = feed(rate, 30, 40, at_ns + 10**9, first=41)
    at_ns = feed(rate, 30, 4, at_ns + 10**9, first=81)

    assert rate.fps == pytest.approx(30, rel=0.001)
    assert not rate.has_bursts
