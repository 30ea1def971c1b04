"""The scheduler in the worker, and through a whole host with the embedded model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.clock import now_ns
from sdv2_host.config import Config
from sdv2_host.host.backlog import ChunkWish
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.engines import PassthroughEngine
from sdv2_host.host.schedule import Schedule
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.params import Params
from sdv2_host.status import HostStatus
from sdv2_host.types import FrameMeta, Layout, Shape, Size

SERIAL, BATCH = Layout.SERIAL, Layout.BATCH


class SlowEngine(PassthroughEngine):
    """40 fps with two steps as started, 50 in chunks of 8 or a batch, 80 with one step."""

    step_ms: Mapping[Shape, float] = {
        Shape(4, SERIAL, 1): 50.0,
        Shape(4, SERIAL, 2): 100.0,
        Shape(8, SERIAL, 1): 90.0,
        Shape(8, SERIAL, 2): 160.0,
        Shape(4, BATCH, 2): 80.0,
    }


PARAMS = Params(steps=2)


def planned(schedule: Schedule, params: Params, source_fps: float, chunks: int = 20) -> ChunkWish:
    wish = schedule.plan(params, source_fps, 0)
    for _ in range(chunks):
        wish = schedule.plan(params, source_fps, 0)
    return wish


def test_before_the_source_is_known_chunks_are_as_started() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)

    wish = schedule.plan(PARAMS, 0.0, 0)

    assert wish == ChunkWish(4, 4, rest_ns=5 * 10**8)
    assert schedule.shape_of(4, PARAMS, is_lockstep=False) == Shape(4, SERIAL, 2)
    assert schedule.says == ""


def test_a_rate_that_needs_more_gets_another_shape_and_frames_in_time_for_the_bound() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    params = PARAMS.model_copy(update={"latency_bound_ms": 400.0})

    wish = planned(schedule, params, 45.0)

    assert schedule.shape_of(4, params, is_lockstep=False) == Shape(4, BATCH, 2)
    # Four further frames and the step come after the chunk is full.
    still_ms = 4000 / 45 + 80
    assert wish.max_age_ns == pytest.approx((400 - still_ms) * 1e6)
    assert "batch" in schedule.says


def test_pictures_of_an_engine_whose_stages_overlap_are_reckoned_with_a_call_later() -> None:
    engine = SlowEngine()
    engine.most_behind = 1
    params = PARAMS.model_copy(update={"latency_bound_ms": 400.0, "slo_mode": "off"})

    wish = planned(Schedule(engine, params), params, 30.0)

    assert wish.max_age_ns == pytest.approx((400 - 2 * 100) * 1e6)


@pytest.mark.parametrize("target_fps", [5e-324, 2.3e-308, 1e-6, 0.01])
def test_a_target_rate_of_next_to_nothing_is_waited_for_but_not_for_ever(target_fps: float) -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    params = PARAMS.model_copy(update={"target_fps": target_fps, "latency_bound_ms": 400.0})

    wish = planned(schedule, params, 45.0)

    assert (wish.num_frames, wish.base_frames) == (4, 4)
    assert wish.patience_ns == wish.rest_ns == 60 * 10**9
    assert wish.max_age_ns > 0


def test_a_chunk_that_the_source_did_not_fill_is_made_as_long_as_it_is() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    params = PARAMS.model_copy(update={"latency_bound_ms": 350.0})
    only_chunks = SlowEngine()
    only_chunks.step_ms = {s: ms for s, ms in SlowEngine.step_ms.items() if s.layout is SERIAL}
    schedule = Schedule(only_chunks, PARAMS)

    wish = planned(schedule, params, 45.0)

    assert (wish.num_frames, wish.base_frames) == (8, 4)
    assert wish.patience_ns == pytest.approx(1.5 * 8e9 / 45)
    assert schedule.shape_of(4, params, is_lockstep=False) == Shape(4, SERIAL, 2)


@pytest.mark.parametrize(("source_fps", "may_wait"), [(45.0, True), (200.0, False)])
def test_only_an_engine_that_is_not_behind_may_wait_for_a_chunk(
    source_fps: float, may_wait: bool
) -> None:
    schedule = Schedule(SlowEngine(), PARAMS)

    wish = planned(schedule, PARAMS, source_fps)

    assert wish.may_wait is may_wait


def test_lock_step_frames_are_made_as_started() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    planned(schedule, PARAMS, 45.0)

    assert schedule.shape_of(4, PARAMS, is_lockstep=True) == Shape(4, SERIAL, 2)
    assert planned(schedule, PARAMS, 45.0).num_frames == 4
    assert schedule.shape_of(4, PARAMS, is_lockstep=True) == Shape(4, SERIAL, 2)


def test_steps_that_changed_while_frames_came_hold_for_them() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    schedule.plan(PARAMS, 30.0, 0)

    shape = schedule.shape_of(4, Params(steps=1), is_lockstep=False)

    assert shape == Shape(4, SERIAL, 1)


def test_a_device_that_slows_down_brings_another_shape() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    params = PARAMS.model_copy(update={"slo_mode": "steps"})
    planned(schedule, params, 35.0)
    assert schedule.shape_of(4, params, is_lockstep=False) == Shape(4, SERIAL, 2)

    for _ in range(60):
        schedule.plan(params, 35.0, 0)
        shape = schedule.shape_of(4, params, is_lockstep=False)
        schedule.took(shape, 0, round(1.6e6 * SlowEngine.step_ms[shape]), is_usual=True)

    assert shape == Shape(4, SERIAL, 1)
    assert schedule.says.startswith("chunks of 4, serial, 1 step: 5")


def test_a_step_after_a_change_and_one_that_is_unusual_teach_nothing() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    shape = Shape(4, SERIAL, 2)

    for is_usual in (False, False, False):
        schedule.took(shape, 0, 10**9, is_usual=is_usual)
    for other in (Shape(8, SERIAL, 2), shape) * 5:
        schedule.took(other, 0, 10**9, is_usual=True)
    schedule.plan(PARAMS, 30.0, 0)

    assert "40 fps possible" in schedule.says


def test_a_stalled_source_gets_the_pictures_that_its_batch_owes_once() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    planned(schedule, PARAMS, 45.0)
    second_ns = 10**9
    assert not schedule.owes_pictures(second_ns, second_ns)

    schedule.took(Shape(4, BATCH, 2), 0, second_ns, is_usual=True)

    # Since the newest frame came, and not since the engine was free to notice that none does.
    newest_ns = second_ns - 50 * 10**6
    due_ns = newest_ns + 6 * second_ns // 45
    times_ns = (due_ns - 10**6, due_ns + 10**6, 5 * second_ns)
    owes = [schedule.owes_pictures(at_ns, newest_ns) for at_ns in times_ns]
    assert owes == [False, True, False]
    schedule.took(Shape(4, SERIAL, 2), 0, second_ns, is_usual=True)
    assert not schedule.owes_pictures(5 * second_ns, newest_ns)


def test_a_batch_that_was_emptied_teaches_nothing_until_it_is_full() -> None:
    schedule = Schedule(SlowEngine(), PARAMS)
    planned(schedule, PARAMS, 45.0)
    shape = Shape(4, BATCH, 2)
    for _ in range(8):
        schedule.took(shape, 0, 80_000_000, is_usual=True)

    for _ in range(8):
        assert schedule.owes_pictures(10**10, 0)
        schedule.took(shape, 0, 40_000_000, is_usual=True)
    planned(schedule, PARAMS, 45.0)

    assert "50 fps possible" in schedule.says


def test_an_overloaded_host_takes_fewer_steps_and_then_a_smaller_size_and_says_so(
    run_dir: Path, stream: str
) -> None:
    config = Config(
        name=stream,
        engine="tiny",
        width=256,
        height=256,
        threads=1,
        port=0,
        resume="default",
        data_dir=str(run_dir.parent),
    )
    daemon = Daemon(config, Params(steps=2, slo_mode="size"), run_dir=run_dir)

    fewer, smaller = asyncio.run(
        statuses_with(daemon, ("1 step", "in place of 256x256: "), run_dir)
    )

    assert "chunks of 4, serial, 1 step: " in fewer.schedule
    assert fewer.size == Size(256, 256)
    assert fewer.step_ms["chunks of 4, serial, 2 steps"] > 0
    assert smaller.size is not None
    assert Size(128, 128) <= smaller.size < Size(256, 256)
    assert smaller.schedule.startswith(f"{smaller.size} in place of 256x256: ")
    assert " fps possible with 256x256, " in smaller.schedule
    assert smaller.worker_restarts == 0
    assert smaller.dropped > 0
    assert (daemon.params.width, daemon.params.steps) == (0, 2)


async def statuses_with(daemon: Daemon, said: tuple[str, ...], run_dir: Path) -> list[HostStatus]:
    """The host's status once its scheduler says each, with a source of 120 fps."""
    statuses = []
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    try:
        async with asyncio.timeout(300):
            await daemon.ready.wait()
            with FrameWriter(daemon.config.input_stream, run_dir=run_dir) as writer:
                pixels = np.zeros((64, 64, 4), np.uint8)
                for text in said:
                    while text not in daemon.snapshot().schedule:
                        writer.publish(pixels, FrameMeta(64, 64, capture_ts_ns=now_ns()))
                        await asyncio.sleep(1 / 120)
                    statuses.append(daemon.snapshot())
        return statuses
    finally:
        stop.set()
        await asyncio.wait({running})
