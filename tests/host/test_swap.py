"""Another engine takes over while the stream runs: real rings, real workers, nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from numpy.typing import NDArray

from sdv2_host.config import Config
from sdv2_host.host.output_mix import fitted
from sdv2_host.ipc.frame_ring import FrameWriter, remove_stale
from sdv2_host.param_table import ParamValue
from sdv2_host.params import AS_STARTED, Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size
from tests.host.live_host import (
    Stage,
    is_alive,
    left_segments,
    linux_only,
    live_host,
    picture,
    streaming_host,
)
from tests.host.lockstep_client import LockstepClient
from tests.host.test_lockstep import RGBA8, levels

QUICK_FADE = Params(swap_s=0.2)
LONG_FADE = Params(swap_s=10.0)


def ask(stage: Stage, **values: ParamValue) -> None:
    result = stage.daemon.console.set(values, "test")
    assert result.errors == {}


def size_in_use(stage: Stage) -> Size:
    """Of the configuration: the passthrough engine's pictures follow the parameters at once."""
    return stage.daemon.config_in_use.size


def next_pid(stage: Stage) -> int | None:
    return stage.daemon.next_pid


async def preparing(stage: Stage) -> int:
    """The process of the worker that is prepared."""
    await stage.until(lambda: next_pid(stage) is not None)
    pid = next_pid(stage)
    assert pid is not None
    return pid


async def fading(stage: Stage) -> int:
    """The same, once pictures of both workers are mixed."""
    await stage.until(lambda: "takes over" in stage.daemon.snapshot().preparing, 60)
    handed = len(stage.seen)
    await stage.until(lambda: len(stage.seen) > handed + 20)
    return await preparing(stage)


def check_order(stage: Stage) -> None:
    """Fresh frames are in order and none comes twice; repeats never go back.

    That none is left out is shown where no busy machine can drop one: by the render below, and in
    test_handover.
    """
    numbers = numbers_of(stage)
    assert numbers == sorted(set(numbers))
    shown = [frame.meta.source_frame for frame in stage.seen]
    assert shown == sorted(shown)
    ring = [frame.meta.frame for frame in stage.seen]
    assert ring == sorted(set(ring))
    times = [frame.meta.publish_ts_ns for frame in stage.seen]
    assert times == sorted(times)


def picture_of_size(number: int, size: Size) -> NDArray[np.uint8]:
    """What passthrough makes of the source's picture."""
    return fitted(Frame(FrameMeta(24, 16), picture(number)), size)


def numbers_of(stage: Stage) -> list[int]:
    return [frame.meta.source_frame for frame in stage.fresh]


async def go_on(stage: Stage, num_fresh: int = 12) -> None:
    seen = len(stage.fresh)
    await stage.until(lambda: len(stage.fresh) > seen + num_fresh)


def test_another_size_takes_over_while_the_stream_goes_on(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, QUICK_FADE) as stage:
            first_pid = stage.daemon.snapshot().worker_pid
            assert first_pid is not None
            ask(stage, width=128, height=64, seed=5)
            await stage.until(lambda: "preparing" in stage.daemon.snapshot().detail)
            assert stage.daemon.snapshot().state == "live"
            num_before = len(stage.fresh)
            await stage.until(lambda: size_in_use(stage) == Size(128, 64), 60)
            assert len(stage.fresh) > num_before + 4
            await go_on(stage)
            status = stage.daemon.snapshot()
            await stage.until(lambda: not is_alive(first_pid))

            check_order(stage)
            assert (status.worker_restarts, status.preparing, status.problem) == (0, "", "")
            assert status.worker_pid not in (None, first_pid)
            assert stage.fresh[-1].meta.user_tag == status.params_version
            expected = picture_of_size(numbers_of(stage)[-1], Size(128, 64))
            assert np.array_equal(stage.fresh[-1].pixels, expected)

    asyncio.run(run())


def test_another_engine_takes_over_with_its_size_and_its_noise(run_dir: Path, stream: str) -> None:
    changes = {"width": 96, "height": 64, "threads": 1}

    async def run() -> None:
        async with live_host(run_dir, stream, QUICK_FADE, changes=changes) as stage:
            await stage.until(stage.daemon.ready.is_set)
            peers = [asyncio.create_task(stage.view()), asyncio.create_task(stage.publish_frames())]
            try:
                await stage.until(lambda: len(stage.fresh) > 4)
                ask(stage, engine="tiny", steps=1)
                await stage.until(lambda: stage.daemon.snapshot().engine == "tiny", 120)
                await go_on(stage)
                assert stage.fresh[-1].pixels.shape == (64, 96, 4)
                ask(stage, engine=AS_STARTED)
                await stage.until(lambda: stage.daemon.snapshot().engine == "passthrough", 60)
                await go_on(stage)
                assert stage.fresh[-1].pixels.shape == (16, 24, 4)
                check_order(stage)
                assert stage.daemon.snapshot().worker_restarts == 0
            finally:
                for peer in peers:
                    peer.cancel()
                await asyncio.wait(peers)

    asyncio.run(run())


def test_an_engine_that_is_not_installed_is_refused_with_the_remedy_and_the_stream_goes_on(
    run_dir: Path, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            pid = stage.daemon.snapshot().worker_pid
            ask(stage, engine="wan-1.3b")
            await stage.until(lambda: stage.daemon.snapshot().problem != "")
            await go_on(stage)

            problem = stage.daemon.snapshot().problem
            assert "wan-1.3b at 256x256" in problem
            assert "sdv2-host models pull wan-1.3b" in problem
            assert "passthrough at 256x256 goes on" in problem
            assert stage.daemon.params.engine == AS_STARTED
            assert stage.daemon.snapshot().worker_pid == pid
            check_order(stage)
            ask(stage, width=128)
            await stage.until(lambda: size_in_use(stage).width == 128, 60)
            assert stage.daemon.snapshot().problem == ""

    asyncio.run(run())


def test_a_worker_that_cannot_start_is_refused_and_the_stream_goes_on(
    run_dir: Path, stream: str
) -> None:
    other = Config(name=stream).work_streams[1]

    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            pid = stage.daemon.snapshot().worker_pid
            with FrameWriter(other, run_dir=run_dir):
                ask(stage, width=128, height=128)
                await stage.until(lambda: stage.daemon.snapshot().problem != "")
            await go_on(stage)

            assert f"passthrough at 128x128: stream {other}" in stage.daemon.snapshot().problem
            assert (stage.daemon.params.width, stage.daemon.params.height) == (0, 0)
            assert size_in_use(stage) == Size(256, 256)
            assert stage.daemon.snapshot().worker_pid == pid
            assert stage.daemon.snapshot().worker_restarts == 0
            check_order(stage)

    asyncio.run(run())


@linux_only
def test_when_the_one_in_preparation_is_killed_the_stream_goes_on(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            ask(stage, width=128)
            os.kill(await preparing(stage), signal.SIGKILL)
            await stage.until(lambda: stage.daemon.snapshot().problem != "")
            await go_on(stage)

            status = stage.daemon.snapshot()
            assert "was killed by signal 9" in status.problem
            assert (status.worker_restarts, stage.daemon.params.width) == (0, 0)
            check_order(stage)

    asyncio.run(run())


@linux_only
def test_one_whose_pictures_find_no_room_is_refused_and_the_stream_goes_on(
    run_dir: Path, stream: str
) -> None:
    resource = pytest.importorskip("resource")
    most_bytes = 8 << 20  # of a file in /dev/shm: enough for the ring as it begins

    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            pid = stage.daemon.snapshot().worker_pid
            ask(stage, width=512, height=512)
            limits = (most_bytes, most_bytes)
            resource.prlimit(await preparing(stage), resource.RLIMIT_FSIZE, limits)
            await stage.until(lambda: "no room for its pictures" in stage.daemon.snapshot().problem)
            await stage.until(lambda: next_pid(stage) is None)
            await go_on(stage)

            status = stage.daemon.snapshot()
            assert (status.worker_pid, status.worker_restarts) == (pid, 0)
            assert (status.preparing, stage.daemon.params.width) == ("", 0)
            check_order(stage)

    asyncio.run(run())


@linux_only
def test_when_the_next_one_is_killed_in_the_fade_the_old_one_is_shown_again(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, LONG_FADE) as stage:
            pid = stage.daemon.snapshot().worker_pid
            ask(stage, width=128)
            os.kill(await fading(stage), signal.SIGKILL)
            await stage.until(lambda: stage.daemon.snapshot().problem != "")
            await go_on(stage)

            status = stage.daemon.snapshot()
            assert (status.worker_pid, status.worker_restarts) == (pid, 0)
            assert stage.daemon.params.width == 0
            assert np.array_equal(stage.fresh[-1].pixels, picture(numbers_of(stage)[-1]))
            check_order(stage)

    asyncio.run(run())


@linux_only
def test_when_the_old_one_is_killed_the_one_in_preparation_takes_its_place(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            ask(stage, width=128)
            replacement = await preparing(stage)
            os.kill(pid, signal.SIGKILL)
            await stage.until(lambda: size_in_use(stage).width == 128, 60)
            await go_on(stage)

            status = stage.daemon.snapshot()
            assert (status.worker_pid, status.worker_restarts) == (replacement, 1)
            check_order(stage)

    asyncio.run(run())


@linux_only
def test_when_the_old_one_is_killed_in_the_fade_the_next_one_is_shown_at_once(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, LONG_FADE) as stage:
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            ask(stage, width=128)
            replacement = await fading(stage)
            os.kill(pid, signal.SIGKILL)
            await stage.until(lambda: size_in_use(stage).width == 128, 60)
            await go_on(stage)

            assert stage.daemon.snapshot().worker_pid == replacement
            expected = picture_of_size(numbers_of(stage)[-1], Size(128, 16))
            assert np.array_equal(stage.fresh[-1].pixels, expected)
            check_order(stage)

    asyncio.run(run())


@linux_only
@pytest.mark.parametrize("when", [preparing, fading])
def test_stop_while_another_one_is_coming_leaves_no_process_and_no_segment(
    run_dir: Path, stream: str, when: object
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, LONG_FADE) as stage:
            pid = stage.daemon.snapshot().worker_pid
            ask(stage, width=128)
            following = await (preparing if when is preparing else fading)(stage)
            stage.stop.set()
            await stage.running
            segments = set(stage.segments)

        assert pid is not None
        assert not is_alive(pid)
        assert not is_alive(following)
        assert left_segments(segments) == []
        assert list(run_dir.glob("*.json")) == []

    asyncio.run(run())


def test_of_two_wishes_in_quick_succession_the_newer_one_is_followed(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, QUICK_FADE) as stage:
            ask(stage, width=128)
            first = await preparing(stage)
            ask(stage, width=192)
            await stage.until(lambda: next_pid(stage) not in (None, first))
            await stage.until(lambda: size_in_use(stage).width == 192, 60)
            ask(stage, width=320)
            await stage.until(lambda: next_pid(stage) is not None)
            ask(stage, width=192)
            await stage.until(lambda: next_pid(stage) is None)
            await go_on(stage)

            assert size_in_use(stage).width == 192
            assert stage.daemon.snapshot().problem == ""
            check_order(stage)

    asyncio.run(run())


def test_a_wish_during_the_fade_is_followed_after_it(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, Params(swap_s=1.0)) as stage:
            ask(stage, width=128)
            await fading(stage)
            ask(stage, width=192)
            await stage.until(lambda: size_in_use(stage).width == 128, 60)
            await stage.until(lambda: size_in_use(stage).width == 192, 60)
            await go_on(stage)

            check_order(stage)

    asyncio.run(run())


def until_set(done: threading.Event, num_more: int) -> Iterator[NDArray[np.uint8]]:
    """Numbered pictures until it is set, and so many more."""
    for number in itertools.count():
        num_more -= done.is_set()
        if num_more < 0:
            return
        yield np.full((16, 24, 4), 1 + number % 250, np.uint8)


def test_a_render_across_a_change_gets_every_frame_once_and_unmixed(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with live_host(run_dir, stream) as stage:
            await stage.until(stage.daemon.ready.is_set)
            delay = stage.daemon.snapshot().delay_frames
            done = threading.Event()
            with LockstepClient(stream, run_dir, delay) as client:
                frames = until_set(done, 20)
                rendering = asyncio.create_task(asyncio.to_thread(client.render, frames, RGBA8))
                try:
                    await stage.until(lambda: client.writer.frame > 8)
                    ask(stage, width=128)
                    await stage.until(lambda: size_in_use(stage).width == 128, 60)
                finally:
                    done.set()
                    await rendering

                assert client.numbers == client.expected
                assert client.numbers[-1] >= client.writer.frame - delay
                assert levels(client) == [1 + (number - 1) % 250 for number in client.numbers]
                assert client.reader.lost == 0

    asyncio.run(run())


def test_without_an_input_the_other_one_takes_over_all_the_same(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with live_host(run_dir, stream) as stage:
            await stage.until(stage.daemon.ready.is_set)
            ask(stage, width=128)
            await stage.until(lambda: size_in_use(stage).width == 128, 60)

            assert stage.daemon.snapshot().state == "waiting"

    asyncio.run(run())


def test_replace_stops_the_one_in_use_first_while_the_output_holds_its_picture(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, Params(swap_mode="replace")) as stage:
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            ask(stage, width=128)
            await stage.until(lambda: stage.daemon.snapshot().state == "recovering")
            assert next_pid(stage) is None
            begin = len(stage.seen)
            await stage.until(lambda: stage.daemon.snapshot().state == "live")
            await go_on(stage)

            assert not is_alive(pid)
            assert size_in_use(stage).width == 128
            assert stage.daemon.snapshot().worker_restarts == 0
            assert any(FrameFlags.REPEATED in frame.meta.flags for frame in stage.seen[begin:])
            check_order(stage)

    asyncio.run(run())


SWAPPING_DAEMON = """
import asyncio, pathlib, sys
from sdv2_host.config import Config
from sdv2_host.host.daemon import Daemon
from sdv2_host.params import Params
async def run():
    config = Config(name=sys.argv[1], engine="passthrough", port=0, resume="default")
    daemon = Daemon(config, Params(), run_dir=pathlib.Path(sys.argv[2]))
    running = asyncio.create_task(daemon.run(asyncio.Event()))
    await daemon.ready.wait()
    daemon.console.set({"width": 128}, "test")
    while daemon.next_pid is None:
        await asyncio.sleep(0.005)
    print(daemon.snapshot().worker_pid, daemon.next_pid, flush=True)
    await running
asyncio.run(run())
"""


@linux_only
@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_a_killed_daemon_takes_both_workers_along(
    run_dir: Path, stream: str, after_s: float
) -> None:
    command = [sys.executable, "-c", SWAPPING_DAEMON, stream, str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        pids = [int(pid) for pid in daemon.stdout.readline().split()]
        time.sleep(after_s)
        daemon.kill()
    deadline_s = time.monotonic() + 20

    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline_s, f"{pids} live on"
        time.sleep(0.01)

    for end in ("out", "wk", "wk2"):  # what the next start would do
        remove_stale(f"{stream}-{end}", run_dir)
    assert list(run_dir.glob("*.json")) == []
