"""Whatever is done to a whole host, with processes and rings: the stream goes on, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdv2_host.clock import now_ns
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Size
from tests.any_params import PARAMS, any_params
from tests.host.live_host import FRAME_S, Stage, live_host

CALM = {name: PARAMS[name].default for name in ("freeze", "blackout", "pause", "panicked", "mix")}
LIVE = [name for name, spec in PARAMS.items() if spec.group.value not in ("Prompt", "Tempo")]
"""Prompts have tests of their own: they wait for another process."""
LIVE.remove("record")
LIVE.remove("record_show")
TINY = Size(64, 48)


@dataclass
class Camera:
    """A source that can do all that a cable can; each picture says its number."""

    stage: Stage
    size: Size = field(default_factory=lambda: Size(24, 16))
    is_stalled: bool = False
    restarts: bool = False
    sent: dict[tuple[int, int], Size] = field(default_factory=dict)
    """Sizes by number in the ring and time of capture."""

    async def run(self) -> None:
        while True:
            self.restarts = False
            stream = self.stage.daemon.config.input_stream
            with FrameWriter(stream, run_dir=self.stage.run_dir) as writer:
                while not self.restarts:
                    if not self.is_stalled:
                        self._publish(writer)
                    await asyncio.sleep(FRAME_S)

    def _publish(self, writer: FrameWriter) -> None:
        captured_ns = now_ns()
        meta = FrameMeta(*self.size, capture_ts_ns=captured_ns)
        number = writer.publish(picture_of(captured_ns, self.size), meta)
        self.sent[number, captured_ns] = self.size


def picture_of(captured_ns: int, size: Size) -> NDArray[np.uint8]:
    picture = np.full((size.height, size.width, 4), 255, np.uint8)
    picture[..., :3] = captured_ns % 251
    return picture


Action = Callable[[Camera], Awaitable[None]]


def setting(params: Params) -> Action:
    async def act(camera: Camera) -> None:
        camera.stage.daemon.apply({name: getattr(params, name) for name in LIVE}, "test")

    return act


def resizing(size: Size) -> Action:
    async def act(camera: Camera) -> None:
        camera.size = size

    return act


async def stall(camera: Camera) -> None:
    camera.is_stalled = True
    await asyncio.sleep(0.3)
    camera.is_stalled = False


async def restart(camera: Camera) -> None:
    camera.restarts = True


SIZES = st.sampled_from([Size(24, 16), Size(1, 1), Size(33, 7), Size(640, 360)])
CHANGES = any_params(LIVE, width=st.just(0), height=st.just(0)).map(setting)
ACTIONS = st.one_of(CHANGES, CHANGES, SIZES.map(resizing), st.just(stall), st.just(restart))


async def go_on(stage: Stage, count: int = 3) -> None:
    """The output has shown something more, be it what it showed before."""
    num_before = len(stage.seen)
    await stage.until(lambda: len(stage.seen) >= num_before + count, timeout_s=60)


async def play(stage: Stage, actions: list[Action], last: Callable[[Frame, Camera], bool]) -> None:
    """Each action in its turn; then a calm stream, until a frame of it is as `last` says."""
    await stage.until(stage.daemon.ready.is_set, timeout_s=60)
    camera = Camera(stage)
    peers = [asyncio.create_task(stage.view()), asyncio.create_task(camera.run())]
    try:
        await go_on(stage)
        for action in actions:
            await action(camera)
            await go_on(stage)
        stage.daemon.apply({**CALM, "target_fps": 0.0, "latency_bound_ms": 0.0}, "test")
        since_ns = now_ns()
        await stage.until(
            lambda: (
                bool(stage.fresh)
                and stage.fresh[-1].meta.source_capture_ts_ns > since_ns
                and last(stage.fresh[-1], camera)
            ),
            timeout_s=60,
        )
    finally:
        for peer in peers:
            peer.cancel()
        await asyncio.wait(peers)
    order_is_kept(stage.fresh)


def order_is_kept(fresh: list[Frame]) -> None:
    for before, after in pairwise(frame.meta for frame in fresh):
        assert after.source_capture_ts_ns > before.source_capture_ts_ns
        assert after.publish_ts_ns > before.publish_ts_ns


def is_its_source(frame: Frame, camera: Camera) -> bool:
    """Pixel for pixel."""
    meta = frame.meta
    size = camera.sent[meta.source_frame, meta.source_capture_ts_ns]
    return np.array_equal(frame.pixels, picture_of(meta.source_capture_ts_ns, size))


@settings(max_examples=2)
@given(st.lists(ACTIONS, min_size=3, max_size=6))
def test_a_host_goes_on_in_order_whatever_source_and_user_do(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Action]
) -> None:
    run_dir = tmp_path_factory.mktemp("host") / "run"
    run_dir.mkdir(mode=0o700)

    async def run() -> None:
        async with live_host(run_dir, f"t-{run_dir.parent.name}") as stage:
            await play(stage, actions, is_its_source)

    asyncio.run(run())


def test_sizes_asked_for_one_after_the_other_end_with_the_last_in_order(
    run_dir: Path, stream: str
) -> None:
    """The engine has seconds of work for each; a source that changes meanwhile changes nothing."""
    sizes = [Size(96, 64), Size(64, 64), Size(80, 48)]

    def asking(size: Size) -> Action:
        return setting(Params(width=size.width, height=size.height))

    def is_of_the_last(frame: Frame, camera: Camera) -> bool:
        del camera
        return frame.pixels.shape == (48, 80, 4)

    async def run() -> None:
        changes = {"engine": "tiny", "width": 64, "height": 48, "threads": 1}
        async with live_host(run_dir, stream, changes=changes) as stage:
            actions = [asking(sizes[0]), resizing(Size(33, 70)), *map(asking, sizes[1:])]
            await play(stage, actions, is_of_the_last)
            shapes = {frame.pixels.shape[:2] for frame in stage.seen}
            assert shapes <= {(48, 64), *((size.height, size.width) for size in sizes)}

    asyncio.run(run())
