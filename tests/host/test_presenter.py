from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import HostError, RingError
from sdv2_host.host.meter import Meter
from sdv2_host.host.output_mix import MAX_DRY_FRAMES
from sdv2_host.host.playout import Playout, PlayoutCounts
from sdv2_host.host.presenter import Presenter
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, StageTimes

NO_COUNTS = PlayoutCounts(0, 0, 0)
MS = NS_PER_MS


def picture(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((4, 4, 4), value, np.uint8)


def meta(number: int, due_ns: int) -> FrameMeta:
    return FrameMeta(
        4, 4, source_frame=number, source_capture_ts_ns=now_ns(), user_tag=7, present_ts_ns=due_ns
    )


def collect(reader: FrameReader, enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Frames of the output until there are enough."""
    frames: list[Frame] = []
    deadline = time.monotonic() + 5
    while not enough(frames):
        assert time.monotonic() < deadline, f"only {len(frames)} frames within 5 s"
        frame = reader.read_next()
        if frame is None:
            time.sleep(0.002)
        else:
            frames.append(frame)
    return frames


def test_frames_appear_when_due_with_their_tags(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    begin_ns = now_ns() + 150 * MS
    due_ns = [begin_ns + index * 40 * MS for index in range(4)]
    for number, due in enumerate(due_ns):
        work.publish(picture(number), meta(number, due))
    presenter.wake()

    frames = collect(output, lambda frames: len(frames) == 4)

    late_ms = [(f.meta.publish_ts_ns - d) / MS for f, d in zip(frames, due_ns, strict=True)]
    assert [frame.meta.source_frame for frame in frames] == [0, 1, 2, 3]
    assert [frame.pixels[0, 0, 0] for frame in frames] == [0, 1, 2, 3]
    assert all(frame.meta.user_tag == 7 for frame in frames)
    assert all(0 <= late < 30 for late in late_ms)


def test_a_picture_s_stage_times_go_with_it_also_when_it_is_shown_again(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    times = StageTimes(1, 16, 2, 3, 4, 32)
    work.publish(picture(1), replace(meta(1, 0), times=times))
    presenter.wake()
    fresh = collect(output, lambda frames: len(frames) == 1)[0].meta

    presenter.play(Params(blackout=True))
    again = collect(output, lambda frames: len(frames) == 1)[0].meta

    assert FrameFlags.REPEATED in again.flags
    assert fresh.times == again.times == times
    assert again.budget[:-1] == fresh.budget[:-1]
    assert again.budget.publish_us > fresh.budget.publish_us >= 0


def test_of_the_meter_s_pictures_the_budget_is_told(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    times = StageTimes(1, 16, 2, 3, 4, 32)
    for number in range(3):
        work.publish(picture(number), replace(meta(number, 0), times=times))
    presenter.wake()
    collect(output, lambda frames: len(frames) == 3)

    recent = presenter.stats().recent

    assert [one.budget[:6] for one in recent] == [times] * 3
    assert all(one.budget.latency_us > 0 for one in recent)


def test_the_last_frame_is_repeated_although_the_work_ring_is_gone(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    work.publish(picture(5), meta(1, now_ns()))
    presenter.wake()
    collect(output, lambda frames: len(frames) == 1)
    work.close()

    frames = collect(output, lambda frames: len(frames) == 10)

    assert all(FrameFlags.REPEATED in frame.meta.flags for frame in frames)
    assert all((frame.pixels == 5).all() for frame in frames)


def test_the_ring_of_the_next_worker_is_taken_up(
    run_dir: Path, stream: str, work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    work.publish(picture(5), meta(1, now_ns()))
    presenter.wake()
    collect(output, lambda frames: len(frames) == 1)
    work.close()

    with FrameWriter(f"{stream}-wk", slot_count=16, run_dir=run_dir) as second:
        second.publish(picture(6), meta(2, now_ns()))
        presenter.wake()
        frames = collect(output, lambda frames: bool(frames) and (frames[-1].pixels == 6).all())

    assert FrameFlags.REPEATED not in frames[-1].meta.flags


def test_latency_is_measured_from_capture_to_publication(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    due_ns = now_ns() + 60 * MS
    work.publish(picture(1), meta(1, due_ns))
    presenter.wake()
    collect(output, lambda frames: len(frames) == 1)
    time.sleep(0.02)

    stats = presenter.stats()

    assert 60 <= stats.latency_ms.p50 < 160
    assert stats.counts.fresh == 1


class Failures:
    """What a presenter ends with."""

    def __init__(self) -> None:
        self.errors: list[HostError] = []
        self.came = threading.Event()

    def tell(self, error: HostError) -> None:
        self.errors.append(error)
        self.came.set()


class FullMemory:
    """A ring end that cannot publish."""

    def __init__(self) -> None:
        self.closed = False

    def publish(self, pixels: object, meta: FrameMeta) -> int:
        raise RingError("shared memory is full")

    def heartbeat(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_an_output_that_cannot_be_written_is_reported_once(
    run_dir: Path, stream: str, work: FrameWriter
) -> None:
    failures = Failures()
    full = FullMemory()
    reader = FrameReader(f"{stream}-wk", run_dir=run_dir)
    dry = FrameReader(f"{stream}-in", run_dir=run_dir)
    presenter = Presenter(reader, full, 0.0, failures.tell, dry)
    work.publish(picture(1), meta(1, now_ns()))
    presenter.wake()

    assert failures.came.wait(5)
    presenter.close()
    assert [str(error) for error in failures.errors] == ["shared memory is full"]
    assert full.closed


def test_what_must_not_happen_ends_the_output_with_a_word(
    run_dir: Path, stream: str, work: FrameWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = Failures()

    def broken(playout: Playout, now: int) -> None:
        raise IndexError("deque")

    monkeypatch.setattr(Playout, "decide", broken)
    presenter = Presenter(
        FrameReader(f"{stream}-wk", run_dir=run_dir),
        FrameWriter(f"{stream}-out", run_dir=run_dir),
        0.0,
        failures.tell,
        FrameReader(f"{stream}-in", run_dir=run_dir),
    )

    assert failures.came.wait(5)
    presenter.close()
    assert [str(error) for error in failures.errors] == ["the output has ended: IndexError: deque"]


def test_what_waits_to_be_shown_is_read_under_the_lock(
    run_dir: Path, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`withdraw`, of another thread, empties and fills it."""
    plain = Playout.next_lockstep
    looks: list[bool] = []
    presenters: list[Presenter] = []

    def watched(playout: Playout) -> Frame | None:
        looks.extend(presenter._lock.locked() for presenter in presenters)
        assert plain.fget is not None
        return plain.fget(playout)

    monkeypatch.setattr(Playout, "next_lockstep", property(watched))
    with FrameWriter(f"{stream}-wk", run_dir=run_dir) as work:
        presenter = Presenter(
            FrameReader(f"{stream}-wk", run_dir=run_dir),
            FrameWriter(f"{stream}-out", run_dir=run_dir),
            0.0,
            lambda error: None,
            FrameReader(f"{stream}-in", run_dir=run_dir),
        )
        presenters.append(presenter)
        with FrameReader(f"{stream}-out", run_dir=run_dir) as output:
            lockstep = replace(meta(1, now_ns()), flags=FrameFlags.LOCKSTEP)
            presenter.play(Params(mix=0.5))
            work.publish(picture(1), lockstep)
            presenter.wake()
            collect(output, lambda frames: len(frames) == 1)
        presenter.close()

    assert len(looks) > 3
    assert all(looks)


def feed(meter: Meter, times_ms: list[int], latency_ms: int = 100) -> None:
    for time_ms in times_ms:
        captured = FrameMeta(4, 4, source_capture_ts_ns=(time_ms - latency_ms) * MS)
        meter.fresh(captured, time_ms * MS, 40 * MS)


def test_fps_and_percentiles_are_of_the_last_seconds() -> None:
    meter = Meter()
    feed(meter, list(range(1000, 3000, 100)), latency_ms=900)
    feed(meter, list(range(20_000, 24_000, 40)), latency_ms=100)

    stats = meter.stats(NO_COUNTS, 24_000 * MS)

    assert stats.fps == pytest.approx(25, rel=0.01)
    assert stats.latency_ms.p50 == stats.latency_ms.p99 == 100


def test_fps_is_zero_when_nothing_came_for_a_second() -> None:
    meter = Meter()
    feed(meter, [1000, 1040, 1080])

    assert meter.stats(NO_COUNTS, 1500 * MS).fps > 0
    assert meter.stats(NO_COUNTS, 2100 * MS).fps == 0


def test_time_to_first_frame_counts_from_ready_or_capture_whichever_is_later() -> None:
    waiting, late = Meter(), Meter()
    waiting.ready(1000 * MS)
    late.ready(1000 * MS)
    feed(waiting, [1150], latency_ms=900)
    feed(late, [5150, 9000], latency_ms=120)

    assert waiting.stats(NO_COUNTS, 1200 * MS).ttff_ms == 150
    assert late.stats(NO_COUNTS, 9000 * MS).ttff_ms == 120


def test_a_frame_more_than_two_intervals_late_is_a_gap() -> None:
    meter = Meter()
    feed(meter, [1000, 1040, 1085, 1170, 1210, 1300])

    assert meter.stats(NO_COUNTS, 1300 * MS).cadence_gaps == 2


def show(work: FrameWriter, presenter: Presenter, value: int, number: int = 1) -> None:
    work.publish(picture(value), meta(number, now_ns()))
    presenter.wake()


def show_of(work: FrameWriter, presenter: Presenter, value: int, source: Frame) -> None:
    """The picture that was made of this frame of the input."""
    made = meta(source.meta.frame, now_ns())
    work.publish(picture(value), replace(made, source_capture_ts_ns=source.meta.captured_ns))
    presenter.wake()


def capture(source: FrameWriter, value: int) -> Frame:
    """A frame of the input."""
    captured = FrameMeta(4, 4, capture_ts_ns=now_ns())
    number = source.publish(picture(value), captured)
    return Frame(replace(captured, frame=number), picture(value))


def level(frame: Frame) -> int:
    return int(frame.pixels[0, 0, 0])


def test_blackout_is_the_next_frame_and_ends_with_the_next_one(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    show(work, presenter, 9)
    collect(output, lambda frames: len(frames) == 1)

    presenter.play(Params(blackout=True))
    dark = collect(output, lambda frames: bool(frames) and level(frames[-1]) == 0)
    assert [level(frame) for frame in dark[:-1]] == [9] * (len(dark) - 1)
    assert (dark[-1].pixels[..., 3] == 255).all()
    show(work, presenter, 10, 2)
    assert level(collect(output, lambda frames: len(frames) == 3)[-1]) == 0

    presenter.play(Params())
    assert collect(output, lambda frames: bool(frames) and level(frames[-1]) == 10)


def test_panic_shows_the_input_although_no_worker_lives(
    work: FrameWriter, source: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    show(work, presenter, 9)
    collect(output, lambda frames: len(frames) == 1)
    work.close()

    presenter.play(Params(panicked=True, panic_s=0.0))
    for value in (100, 101, 102):
        collect(output, bool)
        source.publish(picture(value), FrameMeta(4, 4, capture_ts_ns=now_ns()))
        wanted = [value]
        frames = collect(output, lambda f, w=wanted: bool(f) and [level(f[-1])] == w)  # type: ignore[misc]
        assert FrameFlags.REPEATED in frames[-1].meta.flags

    presenter.play(Params(panic_s=0.0))
    assert collect(output, lambda frames: bool(frames) and level(frames[-1]) == 9)


def test_panic_without_an_input_is_black_and_the_cadence_goes_on(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    show(work, presenter, 9)
    collect(output, lambda frames: len(frames) == 1)

    presenter.play(Params(panicked=True, panic_s=0.1))

    frames = collect(output, lambda frames: bool(frames) and level(frames[-1]) == 0)
    levels = [level(frame) for frame in frames]
    assert levels == sorted(levels, reverse=True), "it fades, one way"
    assert len(collect(output, lambda frames: len(frames) == 5)) == 5


def test_wet_and_dry_is_the_input_frame_that_the_styled_one_was_made_from(
    work: FrameWriter, source: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    show(work, presenter, 200, 0)
    collect(output, lambda frames: len(frames) == 1)
    presenter.play(Params(mix=0.25))
    collect(output, lambda frames: bool(frames) and not presenter._mix.is_changed)
    captured = [capture(source, value) for value in (10, 20, 30)]
    time.sleep(0.05)  # as long as a worker takes

    show_of(work, presenter, 210, captured[1])

    wanted = round((20 * 192 + 210 * 64) / 256)
    frames = collect(output, lambda f: bool(f) and f[-1].meta.source_frame == 2)
    assert level(frames[-1]) == wanted


def test_freeze_holds_the_mixture_for_longer_than_input_frames_are_kept(
    work: FrameWriter, source: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    show(work, presenter, 200, 0)
    presenter.play(Params(mix=0.5))
    collect(output, lambda frames: bool(frames) and not presenter._mix.is_changed)
    show_of(work, presenter, 200, capture(source, 100))
    collect(output, lambda f: bool(f) and f[-1].meta.source_frame == 1 and level(f[-1]) == 150)

    presenter.play(Params(mix=0.5, freeze=True))
    for _ in range(MAX_DRY_FRAMES // 4 + 1):
        for _ in range(4):  # as many as the ring surely holds
            capture(source, 10)
        while presenter._mix._dry[-1].number < source.frame:
            collect(output, bool)

    assert level(collect(output, lambda frames: len(frames) == 3)[-1]) == 150


def test_the_newest_frame_is_what_is_on_the_output(
    work: FrameWriter, presenter: Presenter, output: FrameReader
) -> None:
    assert presenter.newest() is None
    show(work, presenter, 9)
    collect(output, lambda frames: len(frames) == 1)

    newest = presenter.newest()

    assert newest is not None
    assert (newest.pixels == 9).all()
