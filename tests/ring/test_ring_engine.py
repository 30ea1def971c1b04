"""A stream over processes is that of one device, and goes on when they die: nothing is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.errors import ModelError, WorkerError
from sdv2_host.ipc.ring_layout import MAX_SLOTS
from sdv2_host.params import Params
from sdv2_host.stages.channel import connect_to_driver
from sdv2_host.stages.messages import Failed, Hello, encode
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.rank_ticket import BY_AGENT, Ticket, version
from sdv2_host.stages.ring_engine import DRIFT, LORAS, RingEngine
from sdv2_host.stages.ring_setup import Joining
from sdv2_host.types import Frame
from tests.hosts import is_running
from tests.stages.places import in_chunks, toy_clip
from tests.stages.toy_ring import (
    ALONE,
    MEASURED,
    PATIENT,
    build_badly,
    build_breaking,
    build_nothing,
    build_toy,
    build_uneven,
    lost_at,
    quiet,
    toy_ring,
    wait_for,
    whole,
)

CHUNKS = in_chunks(toy_clip(45))
TOKEN = "only for tests of a ring"

needs_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no signals to stop a process with"
)


pytestmark = pytest.mark.usefixtures("one_thread")


def changing_params(num_chunks: int) -> list[Params]:
    """Other steps, noise and a prompt that fades into another: more blends than ranks keep."""
    return [
        Params(
            steps=2 if index < num_chunks // 2 else 3,
            prompt="rain",
            prompt_b="fire",
            crossfade=min(1.0, index / num_chunks),
            noise_s_max=0.5 + 0.02 * index,
            recache="off",
            drift="off",
        )
        for index in range(num_chunks)
    ]


STEADY = [Params(steps=2, drift="off")] * len(CHUNKS)


def play(
    engine: RingEngine,
    chunks: Sequence[list[Frame]],
    params: Sequence[Params],
    happens: dict[int, Callable[[], None]] | None = None,
) -> NDArray[np.uint8]:
    """All pictures of a session; before chunk i is given happens[i]."""
    out = []
    for index, (frames, one) in enumerate(zip(chunks, params, strict=True)):
        (happens or {}).get(index, lambda: None)()
        out.append(engine.step(frames, one).frames)
    out.append(engine.finish().frames)
    return np.concatenate(out)


def test_the_stream_is_that_of_one_device_session_after_session() -> None:
    clip = in_chunks(toy_clip(81))
    params = changing_params(len(clip))
    expected = whole(clip, params)

    for route in ("ring", "chain"):
        with toy_ring(2, route=route) as engine:
            engine.warm_up(STEADY[0], quiet)
            first = play(engine, clip, params)
            engine.reset()
            for frames in clip[:5]:  # a session that is cut off
                engine.step(frames, STEADY[0])
            engine.reset()
            second = play(engine, clip[:9], params[:9])

        assert np.array_equal(first, expected)
        assert np.array_equal(second, whole(clip[:9], params[:9]))


def test_a_stream_whose_numbers_are_not_finite_begins_anew_on_every_device() -> None:
    with toy_ring(2, build=build_breaking) as engine:
        engine.warm_up(STEADY[0], quiet)
        styled = []
        for frames in CHUNKS:
            styled.append(engine.step(frames, STEADY[0]))
            if styled[-1].ends_session:
                break
        anew = play(engine, CHUNKS[:4], STEADY[:4])

    shown = np.concatenate([one.frames for one in styled])
    assert styled[-1].ends_session
    assert "a chunk came out as numbers that are not finite (NaN)" in styled[-1].problem
    assert 0 < len(shown) < len(CHUNKS) * 4
    assert np.array_equal(shown, whole(CHUNKS, STEADY)[: len(shown)])
    assert np.array_equal(anew, whole(CHUNKS[:4], STEADY[:4]))


def test_it_holds_back_no_more_than_it_says() -> None:
    with toy_ring(2) as engine:
        engine.warm_up(STEADY[0], quiet)
        num_given = num_come = 0
        for frames in CHUNKS:
            num_given += len(frames)
            num_come += len(engine.step(frames, STEADY[0]).frames)
            assert num_given - num_come <= engine.delay_frames + 1


@pytest.mark.skipif(sys.platform == "win32", reason="its C library sleeps under another name")
def test_a_host_that_stood_still_loses_no_device() -> None:
    with toy_ring(2, limits=replace(PATIENT, silence_s=2.0)) as engine:
        engine.warm_up(STEADY[0], quiet)

        def stand_still() -> None:
            ctypes.PyDLL(None).usleep(2_500_000)  # keeps the interpreter: no thread runs

        pictures = play(engine, CHUNKS, STEADY, {4: stand_still})

        assert np.array_equal(pictures, whole(CHUNKS, STEADY))
        assert engine.driver.standing.num_lost == 0


def test_what_a_render_has_under_way_fits_a_frame_ring_however_many_devices_there_are() -> None:
    with toy_ring(5) as engine:
        engine.warm_up(STEADY[0], quiet)

        assert engine.delay_frames + 2 <= MAX_SLOTS  # the client's own has one more


@needs_signals
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_rank_costs_no_picture_and_the_stream_begins_anew_just_before(victim: int) -> None:
    with toy_ring(3, limits=ALONE) as engine:
        engine.warm_up(STEADY[0], quiet)

        got = play(
            engine,
            CHUNKS,
            STEADY,
            {6: lambda: os.kill(engine.driver.pids[victim], signal.SIGKILL)},
        )

        assert engine.driver.standing.num_devices == 2
        assert f"device {victim + 1} (cpu) is lost" in engine.driver.standing.trouble
    num_frames = sum(len(chunk) for chunk in CHUNKS)
    assert len(got) == num_frames
    assert any(np.array_equal(got, lost_at(n, CHUNKS, STEADY)) for n in range(len(CHUNKS)))


@needs_signals
def test_a_hanging_rank_is_found_by_its_silence_and_costs_no_picture() -> None:
    with toy_ring(2, limits=replace(ALONE, silence_s=1.5)) as engine:
        engine.warm_up(STEADY[0], quiet)
        victim = engine.driver.pids[1]

        got = play(engine, CHUNKS, STEADY, {6: lambda: os.kill(victim, signal.SIGSTOP)})

        wait_for(lambda: not is_running(victim), "the hanging process is ended")
    assert any(np.array_equal(got, lost_at(n, CHUNKS, STEADY)) for n in range(len(CHUNKS)))


@needs_signals
def test_a_rank_that_died_is_started_again_and_taken_in_without_loss() -> None:
    with toy_ring(2) as engine:
        engine.warm_up(STEADY[0], quiet)
        died = engine.driver.pids[0]
        for frames in CHUNKS[:4]:
            engine.step(frames, STEADY[0])

        os.kill(died, signal.SIGKILL)
        wait_for(lambda: engine.driver.standing.num_lost == 1, "its death is noticed")
        wait_for(lambda: engine.driver.standing.num_devices == 2, "another one is taken in")
        engine.finish()

        assert engine.driver.standing.trouble == ""
        engine.reset()
        assert np.array_equal(play(engine, CHUNKS, STEADY), whole(CHUNKS, STEADY))


@pytest.mark.parametrize("route", ["ring", "chain"])
def test_blocks_leave_a_rank_that_slows_down_and_no_picture_shows_it(route: str) -> None:
    clip = in_chunks(toy_clip(21)) + [toy_clip(4, seed) for seed in range(400)]
    given: list[list[Frame]] = []
    out = []

    with toy_ring(2, route=route, build=build_uneven, times=MEASURED) as engine:
        engine.warm_up(STEADY[0], quiet)
        before = engine.driver.standing.says
        while "moved" not in engine.driver.standing.says:
            given.append(clip[len(given)])
            out.append(engine.step(given[-1], STEADY[0]).frames)
            time.sleep(0.02)
        for _ in range(6):
            given.append(clip[len(given)])
            out.append(engine.step(given[-1], STEADY[0]).frames)
        out.append(engine.finish().frames)
        after = engine.driver.standing

    assert "moved" not in before
    assert after.num_lost == 0
    expected = whole(given, STEADY[:1] * len(given))
    assert np.array_equal(np.concatenate(out), expected)


@needs_signals
def test_when_all_are_gone_the_engine_says_so() -> None:
    with toy_ring(2, limits=ALONE) as engine:
        engine.warm_up(STEADY[0], quiet)

        for pid in engine.driver.pids.values():
            os.kill(pid, signal.SIGKILL)

        with pytest.raises(WorkerError, match="no device of the ring is left"):
            play(engine, CHUNKS * 4, STEADY * 4)


def test_what_a_device_cannot_load_is_told_as_one_device_would_tell_it() -> None:
    with (
        toy_ring(2, build=build_nothing) as engine,
        pytest.raises(ModelError, match=r"toys.safetensors is missing: buy some"),
    ):
        engine.warm_up(STEADY[0], quiet)


@needs_signals
def test_what_a_guest_could_not_load_is_not_why_the_last_device_ended() -> None:
    joining = Joining(("127.0.0.1", 0), TOKEN, num_expected=0, wait_s=0.0)
    with toy_ring(1, joining=joining, limits=ALONE) as engine:
        engine.warm_up(STEADY[0], quiet)
        guest = connect_to_driver(engine.driver.join_address, TOKEN, 1 << 20)
        hello = Hello(version=version(), ticket=BY_AGENT, device="cpu", machine="b", pid=1)
        guest.send(encode(hello))
        guest.send(encode(Failed(error="ModelError", message="toys are missing")))
        wait_for(lambda: engine.driver.standing.num_lost == 1, "the guest is lost")

        for pid in engine.driver.pids.values():
            os.kill(pid, signal.SIGKILL)

        with pytest.raises(WorkerError, match="no device of the ring is left"):
            play(engine, CHUNKS * 4, STEADY * 4)


def test_a_device_that_always_dies_is_tried_again_only_some_times() -> None:
    with (
        toy_ring(1, build=build_badly, limits=replace(PATIENT, max_deaths=2)) as engine,
        pytest.raises(WorkerError, match="the last one failed: a bug of toys"),
    ):
        engine.warm_up(STEADY[0], quiet)


def test_a_device_of_another_machine_joins_and_leaves_a_stream_without_loss() -> None:
    joining = Joining(("127.0.0.1", 0), TOKEN, num_expected=0, wait_s=0.0)
    with toy_ring(1, joining=joining) as engine:
        engine.warm_up(STEADY[0], quiet)
        ticket = Ticket(engine.driver.join_address, TOKEN, "cpu", build_toy)
        guest = get_context("spawn").Process(target=run_rank, args=(ticket,), daemon=True)
        for frames in CHUNKS[:3]:
            engine.step(frames, STEADY[0])

        guest.start()
        wait_for(lambda: engine.driver.standing.num_devices == 2, "it is taken in")
        for frames in CHUNKS[3:7]:
            engine.step(frames, STEADY[0])
        guest.kill()
        wait_for(lambda: engine.driver.standing.num_devices == 1, "the stream goes on without")
        for frames in CHUNKS[7:]:
            engine.step(frames, STEADY[0])
        engine.finish()

        engine.reset()
        assert np.array_equal(play(engine, CHUNKS, STEADY), whole(CHUNKS, STEADY))


def test_what_is_not_offered_is_told_with_a_remedy() -> None:
    with toy_ring(1) as engine:
        engine.warm_up(STEADY[0], quiet)

        styled = engine.step(CHUNKS[0], Params(steps=2, lora="ghibli", drift="act"))

        assert styled.problem == f"{LORAS}; {DRIFT}"


DRIVER = """
import sys, time
from tests.ring.test_ring_engine import STEADY
from tests.stages.toy_ring import quiet, toy_ring
if __name__ == "__main__":
    with toy_ring(2) as engine:
        engine.warm_up(STEADY[0], quiet)
        print(*engine.driver.pids.values(), flush=True)
        time.sleep(600)
"""


@needs_signals
def test_nothing_is_left_of_a_ring_whose_driver_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert len(pids) == 2

        driver.kill()

    wait_for(lambda: not any(is_running(pid) for pid in pids), f"{pids} have ended")
