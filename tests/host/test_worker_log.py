"""What a worker's messages say about what it is doing."""

from __future__ import annotations

from sdv2_host.clock import NS_PER_S
from sdv2_host.host.worker_log import WorkerLog
from sdv2_host.ipc.messages import Heartbeat, Ready, Report


def ready() -> Ready:
    return Ready(
        engine="e",
        warmup_ms=1.0,
        ready_ns=0,
        width=64,
        height=64,
        first_chunk_frames=1,
        chunk_frames=4,
        delay_frames=3,
    )


def report(chunk_s: float) -> Report:
    return Report(
        version=0,
        spans_ms={"encode": 400 * chunk_s, "decode": 600 * chunk_s},
        notes={},
        frames_in=4,
        frames_out=4,
        dropped=0,
        queue_depth=0,
        rss_bytes=0,
    )


def at(seconds: float) -> int:
    return int(seconds * NS_PER_S)


def test_a_worker_that_waits_for_input_is_not_busy() -> None:
    log = WorkerLog()
    log.heard(ready(), at(0))
    assert log.busy(at(0.5)) is None
    log.heard(Heartbeat(), at(0.6))
    assert log.busy(at(1.5)) is None


def test_what_the_engine_could_make_is_of_its_frames_and_of_the_time_it_is_at_work() -> None:
    log = WorkerLog()
    assert log.possible_fps == 0
    for num_frames, took_ms in ((1, 50.0), (4, 100.0), (5, 100.0)):
        notes = {"chunk_frames": float(num_frames)}
        log.heard(report(0.1).model_copy(update={"notes": notes, "took_ms": took_ms}))

    assert log.possible_fps == 40

    log.took_over(ready(), None)
    assert log.possible_fps == 0


def test_a_first_chunk_that_takes_long_is_told_as_that() -> None:
    log = WorkerLog()
    log.heard(ready(), at(0))
    log.heard(Heartbeat(), at(0.1))

    busy = log.busy(at(7.1))

    assert busy is not None
    assert not busy.is_usual
    assert str(busy) == "the engine has been at one chunk for 7 s"


def test_chunks_of_many_seconds_are_usual_where_they_always_took_so_long() -> None:
    log = WorkerLog()
    log.heard(ready(), at(0))
    log.heard(report(8.0), at(8))

    busy = log.busy(at(15))
    assert busy is not None
    assert busy.is_usual
    assert str(busy) == "fresh frames reach the output, a chunk takes 8.0 s"
    late = log.busy(at(25))
    assert late is not None
    assert not late.is_usual


def test_a_fast_worker_that_falls_silent_is_not_usual() -> None:
    log = WorkerLog()
    log.heard(report(0.1), at(1))

    busy = log.busy(at(4))

    assert busy is not None
    assert str(busy) == "the engine has been at one chunk for 3 s"
    log.heard(Heartbeat(), at(4.1))
    assert log.busy(at(4.2)) is None
