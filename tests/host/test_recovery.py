"""A host whose engine fails: what the output shows, what the status says, and the way back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sdv2_host.config import Config
from sdv2_host.host.limits import Limits
from sdv2_host.host.stand_in import stand_in_for
from sdv2_host.params import Params
from sdv2_host.status import HostState
from sdv2_host.types import FrameFlags
from tests.host.live_host import QUICK, Stage, live_host, playing, streaming_host

FAULTY = (sys.executable, str(Path(__file__).with_name("faulty_worker.py")))
QUICK_FADE = Params(hold_s=0.2, panic_s=0.1, safe="black")
TINY = {"engine": "tiny", "width": 48, "height": 32}


def is_black(stage: Stage) -> bool:
    return bool(stage.seen) and not stage.seen[-1].pixels[..., :3].any()


def test_a_stand_in_is_equal_to_no_engine_that_a_person_asks_for() -> None:
    config = Config(engine="tiny", width=320)
    stand_in = stand_in_for(config)

    assert stand_in != config.model_copy(update={"engine": "passthrough"})
    assert stand_in == stand_in_for(config)
    sized = stand_in.sized(Params(seed=3))
    assert (sized.width, sized.height, sized.seed) == (320, 256, 3)


def test_a_worker_that_hangs_is_faded_from_long_before_it_is_given_up(
    run_dir: Path, stream: str
) -> None:
    limits = Limits(silence_s=60.0, stop_s=0.2, terminate_s=0.1)

    async def run() -> None:
        async with streaming_host(run_dir, stream, QUICK_FADE, limits) as stage:
            daemon = stage.daemon
            pid = daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            try:
                await stage.until(lambda: is_black(stage))
                assert FrameFlags.REPEATED in stage.seen[-1].meta.flags
                await stage.until(lambda: daemon.snapshot().state == HostState.RECOVERING)
                assert "the model does not answer" in daemon.snapshot().detail
                assert "the safe picture (black) until" in daemon.snapshot().detail
                daemon.console.call("panic", (), "t")
                daemon.console.call("resume", (), "t")
                assert daemon.snapshot().worker_restarts == 0
            finally:
                os.kill(pid, signal.SIGCONT)
            await stage.until(lambda: daemon.snapshot().state == HostState.LIVE)
            await stage.until(lambda: not is_black(stage))

    asyncio.run(run())


def test_while_a_worker_is_replaced_the_safe_picture_comes_and_goes(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, QUICK_FADE) as stage:
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await stage.until(lambda: is_black(stage))
            assert "until there are new ones" in stage.daemon.snapshot().detail
            await stage.until(lambda: not is_black(stage) and not is_repeat(stage))
            assert stage.daemon.snapshot().worker_restarts == 1

    asyncio.run(run())


def is_repeat(stage: Stage) -> bool:
    return FrameFlags.REPEATED in stage.seen[-1].meta.flags


def test_an_engine_that_keeps_failing_is_stood_in_for_until_it_is_tried_again(
    run_dir: Path, stream: str
) -> None:
    broken = run_dir / "broken"

    async def run() -> None:
        async with tiny_host(run_dir, stream) as stage:
            daemon = stage.daemon
            daemon.apply({"seed": 7, "steps": 3}, "t")
            broken.touch()
            kill_worker(stage)
            await stage.until(lambda: daemon.snapshot().state == HostState.SAFE)
            status = daemon.snapshot()
            for words in (
                "tiny at 48x32 died 2 times within 60 s",
                "the last time it failed with DeviceMemoryError: 2.0 GiB are free",
                "choose a smaller size or engine",
                "/sdv2/engine/retry starts it again",
                "the input is shown as it is",
            ):
                assert words in status.detail
            assert status.engine == "tiny"
            shown = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > shown + 8)
            assert stage.fresh[-1].pixels.shape == (32, 48, 4)

            said = daemon.console.call("engine_retry", (), "t")
            assert said == "tiny at 48x32 is started again"
            await stage.until(lambda: "2.0 GiB are free" in daemon.snapshot().problem)
            assert "passthrough at 48x32 goes on" in daemon.snapshot().problem
            assert daemon.snapshot().state == HostState.SAFE

            broken.unlink()
            daemon.apply({"engine": "as-started"}, "t")
            await stage.until(lambda: daemon.snapshot().state == HostState.LIVE)
            assert daemon.snapshot().problem == ""
            assert (daemon.params.seed, daemon.params.steps) == (7, 3)
            assert "nothing to try again" in daemon.console.call("engine_retry", (), "t")

    asyncio.run(run())


def test_a_safe_engine_that_dies_too_leaves_a_host_that_can_be_tried_again(
    run_dir: Path, stream: str
) -> None:
    broken = run_dir / "broken"

    async def run() -> None:
        async with tiny_host(run_dir, stream, max_deaths=1) as stage:
            daemon = stage.daemon
            broken.touch()
            kill_worker(stage)
            await stage.until(lambda: daemon.snapshot().state == HostState.SAFE)
            kill_worker(stage)
            await stage.until(lambda: daemon.snapshot().state == HostState.FAILED)
            assert "passthrough at 48x32 died 1 times" in daemon.snapshot().detail
            await stage.until(lambda: "safe picture (black)" in daemon.snapshot().detail)
            assert daemon.snapshot().worker_pid is None

            broken.unlink()
            daemon.console.call("engine_retry", (), "t")
            await stage.until(lambda: daemon.snapshot().state == HostState.LIVE)

    asyncio.run(run())


@asynccontextmanager
async def tiny_host(run_dir: Path, stream: str, max_deaths: int = 2) -> AsyncIterator[Stage]:
    """What is tiny to the host is passthrough while there is no file `broken`."""
    limits = replace(QUICK, max_deaths=max_deaths, worker=FAULTY)
    hosting = live_host(run_dir, stream, QUICK_FADE, limits, changes=TINY)
    async with hosting as stage, playing(stage):
        yield stage


def kill_worker(stage: Stage) -> None:
    pid = stage.daemon.snapshot().worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
