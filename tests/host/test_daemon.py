"""The daemon as a whole: real rings, a real worker process, the passthrough engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.config import Config
from sdv2_host.errors import AlreadyRunningError, ConfigError
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.limits import Limits
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.params import Params
from sdv2_host.status import HostState
from sdv2_host.types import FrameFlags
from tests.host.live_host import (
    QUICK,
    is_alive,
    left_segments,
    linux_only,
    live_host,
    picture,
    streaming_host,
)


def test_frames_go_through_in_order_and_pixel_exact(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 60)

            numbers = [frame.meta.source_frame for frame in stage.fresh]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            for frame in stage.fresh:
                assert np.array_equal(frame.pixels, picture(frame.meta.source_frame))

    asyncio.run(run())


def test_the_status_tells_what_happens(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with live_host(run_dir, stream) as stage:
            assert stage.daemon.snapshot().state == "starting"
            await stage.until(stage.daemon.ready.is_set)
            assert stage.daemon.snapshot().state == "waiting"
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 60)
            status = stage.daemon.snapshot()
        assert status.state is HostState.LIVE
        assert 0 < status.fps < 60
        assert status.frames_in >= status.frames_out >= 60
        assert 0 < status.latency_ms.p50 <= status.latency_ms.p95 <= status.latency_ms.p99 < 1000
        assert status.ttff_ms is not None
        assert 0 < status.ttff_ms < 1000
        assert "convert" in status.spans_ms
        assert status.to_json()["latency_ms"].keys() == {"p50", "p95", "p99"}

    asyncio.run(run())


def test_osc_reaches_the_worker_and_its_frames(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            stage.send_osc("/sdv2/prompt", "neon", "rain")
            stage.send_osc("/sdv2/steps", 3.0)
            stage.send_osc("/sdv2/noise/s_min", 0.9)
            await stage.until(lambda: stage.daemon.snapshot().params_version == 3)
            changed_at = stage.sent
            await stage.until(lambda: stage.fresh[-1].meta.user_tag == 3)

            params = stage.daemon.params
            assert (params.prompt, params.steps) == ("neon rain", 3)
            assert params.noise_s_min == params.noise_s_max == pytest.approx(0.9)
            switched = next(f for f in stage.fresh if f.meta.user_tag == 3)
            assert switched.meta.source_frame - changed_at <= 8
            numbers = [frame.meta.source_frame for frame in stage.fresh]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    asyncio.run(run())


def test_unchanged_and_wrong_values_make_no_new_version(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with live_host(run_dir, stream) as stage:
            await stage.until(stage.daemon.ready.is_set)
            for _ in range(3):
                stage.send_osc("/sdv2/steps", 2)
                stage.send_osc("/sdv2/steps", "many")
                stage.send_osc("/sdv2/nothing", 1)
            stage.send_osc("/sdv2/seed", 5)
            await stage.until(lambda: stage.daemon.params.seed == 5)

            status = stage.daemon.snapshot()
            assert status.params_version == 1
            assert (status.osc.applied, status.osc.rejected, status.osc.unknown) == (4, 3, 3)

    asyncio.run(run())


def test_freeze_holds_one_picture_with_a_live_cadence(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            stage.send_osc("/sdv2/freeze", True)
            await stage.until(lambda: FrameFlags.REPEATED in stage.seen[-1].meta.flags)
            begin = len(stage.seen)
            await asyncio.sleep(0.6)
            held = stage.seen[begin:]
            status = stage.daemon.snapshot()
            stage.send_osc("/sdv2/freeze", 0.0)
            sent = stage.sent
            await stage.until(lambda: stage.fresh[-1].meta.source_frame > sent)

            assert len({frame.meta.source_frame for frame in held}) == 1
            assert len(held) >= 5
            assert status.detail == "frozen: the output holds its picture"
            after = next(f for f in stage.fresh if f.meta.source_frame > held[0].meta.source_frame)
            assert after.meta.source_frame > held[0].meta.source_frame + 4

    asyncio.run(run())


def test_a_killed_worker_is_replaced_while_the_output_repeats(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            stage.daemon.apply({"seed": 11}, "test")
            first_pid = stage.daemon.snapshot().worker_pid
            assert first_pid is not None
            os.kill(first_pid, signal.SIGKILL)
            await stage.until(lambda: stage.daemon.snapshot().state == "recovering")
            await stage.until(lambda: FrameFlags.REPEATED in stage.seen[-1].meta.flags)
            begin, last = len(stage.seen), stage.seen[-1].meta.source_frame
            await stage.until(lambda: stage.fresh[-1].meta.source_frame > last + 8)

            status = stage.daemon.snapshot()
            back_at = next(i for i, f in enumerate(stage.seen) if f.meta.source_frame > last)
            held = stage.seen[begin:back_at]
            assert {frame.meta.source_frame for frame in held} <= {last}
            assert FrameFlags.REPEATED in stage.seen[back_at - 1].meta.flags
            assert status.worker_restarts == 1
            assert status.worker_pid != first_pid
            assert stage.fresh[-1].meta.user_tag == 1
            assert status.frames_in >= status.frames_out

    asyncio.run(run())


@linux_only
def test_a_worker_that_hangs_is_killed_and_replaced(run_dir: Path, stream: str) -> None:
    limits = Limits(silence_s=0.5, stop_s=0.2, terminate_s=0.1, first_delay_s=0.05)

    async def run() -> None:
        async with streaming_host(run_dir, stream, limits=limits) as stage:
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await stage.until(lambda: stage.daemon.snapshot().worker_restarts == 1)
            await stage.until(lambda: stage.daemon.snapshot().state == "live")

            assert not is_alive(pid)

    asyncio.run(run())


@linux_only
def test_stop_leaves_no_process_and_no_segment_within_two_seconds(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            pid = stage.daemon.snapshot().worker_pid
            begin = time.perf_counter()
            stage.stop.set()
            await stage.running
            elapsed_s = time.perf_counter() - begin
            segments = set(stage.segments)

        assert elapsed_s < 2.0
        assert pid is not None
        assert not is_alive(pid)
        assert len(segments - {""}) >= 2
        assert left_segments(segments) == []
        assert list(run_dir.glob("*.json")) == []

    asyncio.run(run())


@linux_only
def test_stop_while_the_worker_hangs_takes_less_than_two_seconds(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            begin = time.perf_counter()
            stage.stop.set()
            await stage.running
            elapsed_s = time.perf_counter() - begin
            segments = set(stage.segments)

        assert elapsed_s < 2.0
        assert not is_alive(pid)
        assert left_segments(segments) == []

    asyncio.run(run())


def test_stop_before_the_worker_is_ready_is_clean(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with live_host(run_dir, stream) as stage:
            await stage.until(lambda: stage.daemon.snapshot().worker_pid is not None)
            begin = time.perf_counter()
            stage.stop.set()
            await stage.running

        assert time.perf_counter() - begin < 2.0
        assert list(run_dir.glob("*.json")) == []

    asyncio.run(run())


def test_a_second_daemon_of_the_same_name_is_refused(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            config = Config(name=stream, engine="passthrough", port=0)
            second = Daemon(config, Params(), run_dir=run_dir)
            with pytest.raises(AlreadyRunningError, match=stream):
                await second.run(asyncio.Event())

            before = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > before + 8)

    asyncio.run(run())


def test_a_taken_osc_port_is_refused_and_nothing_is_left(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with live_host(run_dir, f"{stream}a") as stage:
            await stage.until(lambda: stage.daemon.snapshot().port > 0)
            port = stage.daemon.snapshot().port
            config = Config(name=stream, engine="passthrough", port=port)
            with pytest.raises(ConfigError, match=f"--port {port}"):
                await Daemon(config, Params(), run_dir=run_dir).run(asyncio.Event())

            assert list(run_dir.glob(f"{stream}-*.json")) == []

    asyncio.run(run())


def test_workers_of_the_safe_engine_that_keep_dying_end_in_failed_until_it_is_tried_again(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            killed: set[int] = set()
            while stage.daemon.snapshot().state != "failed":
                pid = stage.daemon.snapshot().worker_pid
                if pid is not None and pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)
            begin = len(stage.seen)
            await stage.until(lambda: len(stage.seen) >= begin + 3)

            assert len(killed) == QUICK.max_deaths
            assert "5 times within 60 s" in stage.daemon.snapshot().detail
            assert stage.daemon.snapshot().worker_pid is None
            assert all(FrameFlags.REPEATED in f.meta.flags for f in stage.seen[begin:])

            stage.daemon.console.call("engine_retry", (), "t")
            await stage.until(lambda: stage.daemon.snapshot().state == "live")

    asyncio.run(run())


def test_a_worker_that_cannot_start_ends_the_daemon_with_its_reason(
    run_dir: Path, stream: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Config(name=stream, engine="passthrough", port=0)

    async def run() -> None:
        with (
            FrameWriter(config.work_streams[0], run_dir=run_dir),
            pytest.raises(AlreadyRunningError, match=config.work_streams[0]),
        ):
            await Daemon(config, Params(), run_dir=run_dir).run(asyncio.Event())

    asyncio.run(run())
    assert list(run_dir.glob("*.json")) == []
    assert capfd.readouterr().err == ""


DAEMON = """
import asyncio, pathlib, sys
from sdv2_host.config import Config
from sdv2_host.host.daemon import Daemon
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.params import Params
async def run():
    config = Config(name=sys.argv[1], engine=sys.argv[3], port=0)
    daemon = Daemon(config, Params(), run_dir=pathlib.Path(sys.argv[2]))
    daemon.on_progress.append(lambda *_: print(daemon.snapshot().worker_pid, flush=True))
    await daemon.run(asyncio.Event())
asyncio.run(run())
"""


def kill_daemon(run_dir: Path, stream: str, engine: str, after_s: float) -> int:
    """Pid of the worker of a daemon that was killed `after_s` after the worker began to load."""
    command = [sys.executable, "-c", DAEMON, stream, str(run_dir), engine]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        worker_pid = int(daemon.stdout.readline())
        time.sleep(after_s)
        daemon.kill()
    return worker_pid


@linux_only
@pytest.mark.parametrize(
    ("engine", "after_s"), [("passthrough", 0.5), ("tiny", 0.3)], ids=["running", "loading"]
)
def test_a_killed_daemon_takes_its_worker_along(
    run_dir: Path, stream: str, engine: str, after_s: float
) -> None:
    worker_pid = kill_daemon(run_dir, stream, engine, after_s)
    begin = time.perf_counter()

    while is_alive(worker_pid) and time.perf_counter() - begin < 2.0:
        time.sleep(0.01)

    assert not is_alive(worker_pid)


@linux_only
def test_a_host_frees_the_memory_of_a_killed_one_of_another_name(
    run_dir: Path, stream: str
) -> None:
    kill_daemon(run_dir, "killed", "passthrough", after_s=0.5)
    left = [json.loads(path.read_text())["segment"] for path in run_dir.glob("killed-*.json")]
    assert left
    assert all(Path("/dev/shm", name).exists() for name in left)

    async def run() -> None:
        async with live_host(run_dir, stream) as stage:
            await stage.until(stage.daemon.opened.is_set)

    asyncio.run(run())
    assert not any(Path("/dev/shm", name).exists() for name in left)
    assert list(run_dir.glob("killed-*.json")) == []


@linux_only
def test_a_daemon_that_starts_right_after_a_kill_takes_over(run_dir: Path, stream: str) -> None:
    kill_daemon(run_dir, stream, "passthrough", after_s=0.5)

    async def run() -> set[str]:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 8)
            return stage.segments

    segments = asyncio.run(run())
    assert left_segments(segments) == []
    assert list(run_dir.glob("*.json")) == []
