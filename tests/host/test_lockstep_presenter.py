"""Lock-step frames on their way from the engine to the public ring."""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.clock import now_ns
from sdv2_host.errors import RingError
from sdv2_host.host.intake import Intake
from sdv2_host.host.outlet import WORK_RING_SLOTS, Outlet
from sdv2_host.host.output_ring import BATCH_OUTPUT_RING_SLOTS
from sdv2_host.host.presenter import Presenter
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, StyledChunk
from tests.host.lockstep_client import LockstepClient, numbered

INPUT = FrameMeta(4, 4, flags=FrameFlags.LOCKSTEP)
CHUNK = 4
MAX_STEPS = 4


def picture(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((4, 4, 4), value, np.uint8)


def styled(number: int, captured_ns: int = 0) -> FrameMeta:
    return replace(INPUT, source_frame=number, source_capture_ts_ns=captured_ns)


def collect(reader: FrameReader, num_fresh: int) -> list[Frame]:
    """So many fresh frames of the output."""
    fresh: list[Frame] = []
    deadline = time.monotonic() + 10
    while len(fresh) < num_fresh:
        assert time.monotonic() < deadline, f"only {len(fresh)} fresh frames within 10 s"
        frame = reader.read_next()
        if frame is None:
            time.sleep(0.002)
        elif FrameFlags.REPEATED not in frame.meta.flags:
            fresh.append(frame)
    return fresh


def levels(frames: list[Frame]) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in frames]


def test_a_reader_that_was_held_up_finds_all_that_the_ring_holds(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    for number in range(8):
        work.publish(picture(number), styled(number))
    presenter.wake()
    deadline = time.monotonic() + 10
    while presenter.stats().counts.fresh < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    presenter.play(Params(blackout=True))  # nor does a new look take a slot
    time.sleep(0.2)

    frames = [output.read_next() for _ in range(9)]

    assert [frame.meta.source_frame for frame in frames if frame is not None] == list(range(8))


def test_a_blackout_reaches_the_output_although_no_more_frames_come(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    work.publish(picture(9), styled(1))
    presenter.wake()
    collect(output, 1)

    presenter.play(Params(blackout=True))

    deadline = time.monotonic() + 10
    while (frame := output.read_next()) is None:
        assert time.monotonic() < deadline, "no blackout within 10 s"
        time.sleep(0.01)
    assert levels([frame]) == [0]
    assert frame.meta.flags == FrameFlags.LOCKSTEP | FrameFlags.REPEATED


def test_every_picture_is_mixed_with_its_own_input_from_the_first_on(
    run_dir: Path,
    stream: str,
    work: FrameWriter,
    presenter: Presenter,
    output: FrameReader,
) -> None:
    presenter.play(Params(mix=0.25))
    for level, last in ((0, 1), (100, 5)):  # the second writer counts anew
        numbers = range(1, last + 1)
        with FrameWriter(f"{stream}-in", slot_count=8, run_dir=run_dir) as source:
            captured_ns = [now_ns() + number for number in numbers]
            for number, at_ns in zip(numbers, captured_ns, strict=True):
                meta = replace(INPUT, capture_ts_ns=at_ns)
                source.publish(picture(level + 10 * number), meta)
            for number, at_ns in zip(numbers, captured_ns, strict=True):
                work.publish(picture(200), styled(number, at_ns))
            presenter.wake()

            frames = collect(output, last)

        inputs = [level + 10 * number for number in numbers]
        assert levels(frames) == [(192 * value + 64 * 200 + 128) // 256 for value in inputs]


def test_a_picture_waits_for_the_input_that_is_mixed_into_it_but_not_for_ever(
    run_dir: Path, stream: str, work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    presenter.play(Params(mix=0.0))
    work.publish(picture(200), styled(1, 77))
    presenter.wake()

    assert levels(collect(output, 1)) == [200]

    with FrameWriter(f"{stream}-in", run_dir=run_dir) as source:
        work.publish(picture(200), styled(1, 78))
        presenter.wake()
        source.publish(picture(20), replace(INPUT, capture_ts_ns=78))

        assert levels(collect(output, 1)) == [20]


class BatchEngine:
    """Gives back its input, as late and as many at once as a stream batch does."""

    def __init__(self) -> None:
        self._in_flight: deque[list[Frame]] = deque()
        self._steps = 0

    def reset(self) -> None:
        self._in_flight.clear()
        self._steps = 0

    def step(self, frames: list[Frame], steps: int) -> StyledChunk:
        done: list[Frame] = []
        if steps != self._steps:
            done = [frame for chunk in self._in_flight for frame in chunk]
            self._in_flight.clear()
        is_first, self._steps = self._steps == 0, steps
        if is_first:
            done += frames
        else:
            self._in_flight.append(frames)
            if len(self._in_flight) == steps:
                done += self._in_flight.popleft()
        empty = np.zeros((0, 16, 24, 4), np.uint8)
        return StyledChunk(np.stack([f.pixels for f in done]) if done else empty, {}, {})


@pytest.mark.parametrize(
    "steps", [[MAX_STEPS], [4, 4, 4, 4, 4, 1], [1, 2, 3, 4, 3, 2]], ids=["full", "emptied", "mixed"]
)
@pytest.mark.parametrize("pause_s", [0.0, 0.1], ids=["quick reader", "slow reader"])
def test_a_batch_loses_no_frame_however_many_come_at_once(
    run_dir: Path, stream: str, steps: list[int], pause_s: float
) -> None:
    failures: list[RingError] = []
    presenter = Presenter(
        FrameReader(f"{stream}-wk", run_dir=run_dir),
        FrameWriter(f"{stream}-out", slot_count=BATCH_OUTPUT_RING_SLOTS, run_dir=run_dir),
        0.0,
        failures.append,
        FrameReader(f"{stream}-in", run_dir=run_dir),
    )
    work = FrameWriter(f"{stream}-wk", slot_count=WORK_RING_SLOTS, run_dir=run_dir)
    delay = CHUNK * MAX_STEPS - 1
    engine, num_steps = BatchEngine(), itertools.cycle(steps)
    with (
        Outlet(work) as outlet,
        Intake(FrameReader(f"{stream}-in", run_dir=run_dir), 1, CHUNK) as intake,
        LockstepClient(stream, run_dir, delay) as client,
    ):
        for pixels in numbered(60):
            number = client.send(pixels, FrameMeta(24, 16), FrameFlags.LOCKSTEP)
            while number - delay >= 1 and (client.numbers or [0])[-1] < number - delay:
                chunk = intake.next_chunk(0.05)
                if chunk is not None:
                    if chunk.begins_session:
                        engine.reset()
                        outlet.restart()
                    outlet.expect(chunk.frames)
                    outlet.publish(engine.step(chunk.frames, next(num_steps)), 0)
                    presenter.wake()
                time.sleep(pause_s)
                client.look()
    presenter.close()

    assert failures == []
    assert client.numbers == client.expected
    assert client.numbers[-1] >= 60 - delay
    assert levels(client.pictures) == [9 + number for number in client.numbers]
