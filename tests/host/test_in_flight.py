from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS, NS_PER_US
from sdv2_host.host.in_flight import InFlight
from sdv2_host.types import Frame, FrameMeta, PartDone, StageTimes, StyledChunk

PIXELS = np.zeros((1, 1, 4), np.uint8)


def frames(count: int, first: int = 1, captured_ms: int = 10) -> list[Frame]:
    return [
        Frame(FrameMeta(1, 1, frame=first + k, capture_ts_ns=captured_ms * NS_PER_MS), PIXELS)
        for k in range(count)
    ]


def styled(*parts: PartDone) -> StyledChunk:
    count = sum(part.num_frames for part in parts)
    return StyledChunk(np.zeros((count, 1, 1, 4), np.uint8), {}, {}, parts=parts)


def step(num_frames: int, begin: int) -> PartDone:
    """Its five spans are begin, begin + 1, ... milliseconds."""
    names = ("upload", "encode", "denoise", "decode", "download")
    spans_ms = {name: float(begin + index) for index, name in enumerate(names)}
    return PartDone(num_frames, spans_ms, is_step=True)


def ms(*times: int) -> StageTimes:
    return StageTimes(*(1000 * one for one in times))


def test_a_serial_step_is_all_that_its_pictures_took() -> None:
    in_flight = InFlight()
    in_flight.give(frames(2), begin_ns=15 * NS_PER_MS)

    owed = in_flight.take(styled(step(2, 20)))

    assert [one.source.frame for one in owed] == [1, 2]
    assert {one.times for one in owed} == {ms(5, 20, 21, 22, 23, 24)}
    assert len(in_flight) == 0


def test_in_a_batch_a_picture_is_denoised_by_each_step_until_it_comes() -> None:
    in_flight = InFlight()
    in_flight.give(frames(4), begin_ns=15 * NS_PER_MS)
    assert in_flight.take(styled(step(0, 20))) == []
    in_flight.give(frames(4, first=5, captured_ms=30), begin_ns=40 * NS_PER_MS)

    owed = in_flight.take(styled(step(4, 60)))

    assert {one.times for one in owed} == {ms(5, 20, 21, 22 + 62, 63, 64)}
    assert len(in_flight) == 4


def test_where_stages_overlap_a_later_chunk_owes_nothing_to_an_earlier_step() -> None:
    in_flight = InFlight()
    in_flight.give(frames(4), begin_ns=15 * NS_PER_MS)
    in_flight.give(frames(4, first=5), begin_ns=20 * NS_PER_MS)

    owed = in_flight.take(styled(step(4, 20), step(4, 60)))

    assert [one.times for one in owed[::4]] == [
        ms(5, 20, 21, 22, 23, 24),
        ms(10, 60, 61, 62, 63, 64),
    ]


def test_what_empties_a_batch_denoises_all_that_is_in_it() -> None:
    in_flight = InFlight()
    in_flight.give(frames(1), begin_ns=10 * NS_PER_MS)
    in_flight.give(frames(1, first=2), begin_ns=10 * NS_PER_MS)
    in_flight.take(styled(step(0, 20), step(0, 40)))

    emptying = PartDone(2, {"denoise": 7.0, "decode": 8.0, "download": 9.0}, is_step=False)
    owed = in_flight.take(styled(emptying))

    assert [one.times.denoise_us for one in owed] == [22_000 + 42_000 + 7_000, 42_000 + 7_000]
    assert {one.times.decode_us for one in owed} == {8_000}


def test_an_engine_that_tells_no_parts_has_waiting_only() -> None:
    in_flight = InFlight()
    in_flight.give(frames(2, captured_ms=1), begin_ns=4 * NS_PER_MS)

    owed = in_flight.take(StyledChunk(np.zeros((2, 1, 1, 4), np.uint8), {"convert": 3.0}, {}))

    assert {one.times for one in owed} == {ms(3, 0, 0, 0, 0, 0)}


def test_a_source_that_tells_no_capture_times_is_captured_when_it_publishes() -> None:
    in_flight = InFlight()
    in_flight.give([Frame(FrameMeta(1, 1, publish_ts_ns=7 * NS_PER_MS), PIXELS)], 9 * NS_PER_MS)

    (owed,) = in_flight.take(styled(step(1, 1)))

    assert (owed.times.wait_us, owed.source.captured_ns) == (2_000, 7 * NS_PER_MS)


@dataclass
class TimedEngine:
    """The oracle: its stages take time on a clock of its own, and each picture knows its past.

    Fields: the clock, in microseconds; pictures in the batch, oldest first; those that came.
    """

    clock_us: int = 10_000_000
    batch: list[Counter[str]] = field(default_factory=list)
    made: list[Counter[str]] = field(default_factory=list)

    def take_in(self, count: int, spans_us: dict[str, int]) -> list[Frame]:
        """The frames of the step that begins."""
        new = Counter(wait=spans_us["pause"], begin=self.clock_us)
        new.update({name: spans_us[name] for name in ("upload", "encode")})
        self.clock_us += spans_us["upload"] + spans_us["encode"]
        self.batch += [new.copy() for _ in range(count)]
        meta = FrameMeta(1, 1, capture_ts_ns=(new["begin"] - new["wait"]) * NS_PER_US)
        return [Frame(meta, PIXELS)] * count

    def work(self, num_kept: int, spans_us: dict[str, int], *, is_step: bool) -> PartDone:
        """All in the batch are denoised; so many stay in it, the others come."""
        names = ("denoise", "decode", "download")
        self.clock_us += sum(spans_us[name] for name in names)
        for one in self.batch:
            one["denoise"] += spans_us["denoise"]
        cut = max(0, len(self.batch) - num_kept)
        for one in self.batch[:cut]:
            one.update({name: spans_us[name] for name in names[1:]}, made=self.clock_us)
        self.made += self.batch[:cut]
        self.batch = self.batch[cut:]
        spans_ms = {name: us / 1000 for name, us in spans_us.items()}
        return PartDone(cut, spans_ms, is_step)


SPANS_US = st.fixed_dictionaries(
    {
        name: st.integers(0, 10**6)
        for name in ("upload", "encode", "denoise", "decode", "download", "pause")
    }
)
STEPS = st.tuples(st.integers(1, 5), st.integers(0, 9), SPANS_US, st.booleans())


@given(st.lists(STEPS, min_size=1, max_size=9), st.integers(1, 3))
def test_whatever_is_batched_the_stages_of_a_picture_fit_between_given_and_made(
    steps: list[tuple[int, int, dict[str, int], bool]], num_late: int
) -> None:
    in_flight, engine = InFlight(), TimedEngine()
    parts: list[PartDone] = []
    got: list[StageTimes] = []

    for count, num_kept, spans_us, empties in steps:
        begin_us = engine.clock_us
        in_flight.give(engine.take_in(count, spans_us), begin_us * NS_PER_US)
        parts.append(engine.work(num_kept, spans_us, is_step=True))
        if empties:
            parts.append(engine.work(0, spans_us, is_step=False))
        # Where stages overlap what is done comes with a later call.
        if len(parts) >= num_late:
            got += [one.times for one in in_flight.take(styled(*parts))]
            parts = []
    got += [one.times for one in in_flight.take(styled(*parts))]

    names = ("wait", "upload", "encode", "denoise", "decode", "download")
    wanted = [[one[name] for name in names] for one in engine.made]
    # A span comes as a float of milliseconds, which may lose the last microsecond.
    assert np.allclose(np.array(got), np.array(wanted), rtol=0, atol=2 * len(steps))
    for times, one in zip(got, engine.made, strict=True):
        assert sum(times[1:]) <= one["made"] - one["begin"]


def test_after_a_session_nothing_is_owed() -> None:
    in_flight = InFlight()
    in_flight.give(frames(4), begin_ns=0)

    in_flight.clear()

    assert len(in_flight) == 0
    in_flight.give(frames(1, captured_ms=0), begin_ns=NS_PER_MS)
    assert in_flight.take(styled(step(1, 3)))[0].times == ms(1, 3, 4, 5, 6, 7)
