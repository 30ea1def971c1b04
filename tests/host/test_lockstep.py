"""Renders through a whole host: a frame in, exactly that frame's picture out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.params import Params
from sdv2_host.types import FrameFlags, FrameMeta, Orientation, PixelFormat
from tests.host.live_host import Stage, live_host
from tests.host.lockstep_client import LockstepClient, numbered

RGBA8 = FrameMeta(24, 16)
FLOATS = FrameMeta(24, 16, pixel_format=PixelFormat.RGBA32F, orientation=Orientation.BOTTOM_FIRST)


def levels(client: LockstepClient) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in client.pictures]


@asynccontextmanager
async def ready_host(
    run_dir: Path, name: str, params: Params | None = None, **changes: object
) -> AsyncIterator[tuple[Stage, LockstepClient]]:
    """A host that waits for frames, and a client that has begun nothing yet."""
    async with live_host(run_dir, name, params, changes=changes) as stage:
        await stage.until(stage.daemon.ready.is_set, timeout_s=60)
        delay = stage.daemon.snapshot().delay_frames
        with LockstepClient(name, run_dir, delay) as client:
            yield stage, client


@pytest.mark.parametrize("output_fps", [0.0, 24.0])
def test_every_frame_comes_back_once_in_order_and_pixel_exact(
    run_dir: Path, stream: str, output_fps: float
) -> None:
    random = np.random.default_rng(1)
    frames: list[NDArray[np.float32]] = [
        random.uniform(-0.2, 1.2, (16, 24, 4)).astype(np.float32) for _ in range(42)
    ]
    params = Params(target_fps=1.0, latency_bound_ms=20.0)  # neither is for renders

    async def run() -> None:
        async with ready_host(run_dir, stream, params, output_fps=output_fps) as (stage, client):
            await asyncio.to_thread(client.render, frames, FLOATS)

            assert client.delay == 3
            assert client.numbers == client.expected
            assert client.numbers[-1] >= len(frames) - client.delay
            for picture in client.pictures:
                given = frames[picture.meta.source_frame - 1]
                rounded = np.round(np.clip(given, 0.0, 1.0) * 255.0).astype(np.uint8)
                assert np.array_equal(picture.pixels, rounded[::-1])
            assert stage.daemon.snapshot().cadence_gaps == 0

    asyncio.run(run())


def test_a_reader_that_is_held_up_gets_every_frame(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with ready_host(run_dir, stream) as (stage, client):
            await asyncio.to_thread(client.render, numbered(13), RGBA8, 0.7)

            assert client.numbers == client.expected
            assert levels(client) == [9 + number for number in client.numbers]
            assert client.reader.lost == 0
            assert stage.daemon.snapshot().dropped == 0

    asyncio.run(run())


def test_sessions_follow_each_other_and_ordinary_frames(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with ready_host(run_dir, stream) as (_, client):
            for _ in range(3):
                for pixels in numbered(20):
                    client.send(pixels, RGBA8, FrameFlags.NONE)
                await asyncio.to_thread(client.render, numbered(10), RGBA8)

                assert client.numbers == client.expected
                assert client.numbers[-1] >= client.first + 9 - client.delay
                assert levels(client) == [10 + n - client.first for n in client.numbers]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("hold", "level"),
    [
        ({"freeze": True}, 14),
        ({"blackout": True}, 0),
        ({"panicked": True, "panic_s": 0.0, "safe": "black"}, 0),
        ({"panicked": True, "panic_s": 0.0, "safe": "hold"}, 14),
    ],
    ids=["freeze", "blackout", "panic", "panic that holds"],
)
def test_what_holds_the_output_answers_every_frame_with_the_held_picture(
    run_dir: Path, stream: str, hold: dict[str, object], level: int
) -> None:
    async def run() -> None:
        async with ready_host(run_dir, stream) as (stage, client):
            await asyncio.to_thread(client.render, numbered(5), RGBA8)
            await asyncio.to_thread(client.wait_for, 5)
            stage.daemon.apply(hold, "test")
            await asyncio.to_thread(client.render, numbered(9), RGBA8)

            assert client.numbers == client.expected
            assert levels(client) == [level] * len(client.numbers)
            stage.daemon.apply({"freeze": False, "blackout": False, "panicked": False}, "test")
            await asyncio.to_thread(client.render, numbered(9), RGBA8)
            assert levels(client) == [10 + n - client.first for n in client.numbers]

    asyncio.run(run())


def test_panic_shows_each_frame_its_own_input(run_dir: Path, stream: str) -> None:
    hold = Params(panicked=True, panic_s=0.0, safe="input")

    async def run() -> None:
        async with ready_host(run_dir, stream, hold) as (_, client):
            await asyncio.to_thread(client.render, numbered(9), RGBA8)

            assert client.numbers == client.expected
            assert levels(client) == [9 + number for number in client.numbers]

    asyncio.run(run())


def test_a_paused_render_goes_on_where_it_was(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with ready_host(run_dir, stream, Params(pause=True)) as (stage, client):
            render = asyncio.create_task(asyncio.to_thread(client.render, numbered(14), RGBA8))
            await stage.until(lambda: client.writer.frame == client.delay + 1)
            await asyncio.sleep(0.3)  # the worker discards three times what ordinary frames wait
            assert client.numbers == []
            stage.daemon.apply({"pause": False}, "test")
            await render

            assert client.numbers == client.expected
            assert stage.daemon.snapshot().dropped == 0

    asyncio.run(run())


def test_after_a_killed_worker_a_new_session_is_whole(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with ready_host(run_dir, stream) as (stage, client):
            await asyncio.to_thread(client.render, numbered(12), RGBA8)
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await stage.until(lambda: stage.daemon.snapshot().state == "recovering")
            assert stage.daemon.snapshot().delay_frames == 0
            await stage.until(lambda: stage.daemon.snapshot().delay_frames > 0)

            await asyncio.to_thread(client.render, numbered(12), RGBA8)
            assert client.first == 13
            assert client.numbers == client.expected
            assert client.numbers[-1] >= 24 - client.delay

    asyncio.run(run())


def test_a_render_with_the_embedded_model_repeats_bit_for_bit(run_dir: Path, stream: str) -> None:
    random = np.random.default_rng(2)
    frames = list(random.uniform(0, 1, (10, 64, 64, 4)).astype(np.float32))
    size = {"engine": "tiny", "width": 64, "height": 64, "threads": 1}
    passes: list[list[bytes]] = []

    async def run() -> None:
        async with ready_host(run_dir, stream, Params(steps=1), **size) as (_, client):
            for _ in range(2):
                await asyncio.to_thread(client.render, frames, FLOATS)
                assert client.numbers == client.expected
                # Of the last chunk more may have come by now, or not.
                due = client.pictures[: len(frames) - client.delay]
                passes.append([picture.pixels.tobytes() for picture in due])

    asyncio.run(run())
    assert len(set(passes[0])) == 7
    assert passes[0] == passes[1]
