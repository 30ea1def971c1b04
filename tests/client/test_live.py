"""Courier and host process beside a real daemon, started as an application starts it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sdv2_host import __version__
from sdv2_host.client.courier import Courier, LockstepError
from sdv2_host.client.host_process import HostProcess, Launch
from sdv2_host.client.mailbox import Picture, Wish
from sdv2_host.client.status import State
from sdv2_host.types import Size
from tests.client.waiting import DEADLINE_S, levels, next_picture, numbered, until
from tests.hosts import descriptors, is_running, unique_name


@dataclass
class Rig:
    """A daemon with the engine that changes nothing, and a courier that follows it."""

    name: str
    process: HostProcess
    courier: Courier
    launch: Launch

    def reach(self, state: State) -> None:
        until(lambda: self.courier.status.state is state, state.value, self.tell)

    def tell(self) -> object:
        return self.courier.status, self.process.status, self.process.log()

    def play(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
        """The host shows just this picture, and is said to be live."""
        wanted = levels(pixels)

        def is_shown() -> bool:
            frame = next_picture(self.courier, pixels)
            is_live = self.courier.status.state is State.LIVE
            return is_live and np.array_equal(frame.pixels, wanted)

        until(is_shown, "the picture", self.tell)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    name = unique_name()
    args = ("run", "--name", name, "--engine", "passthrough", "--port", "0")
    launch = Launch(
        name,
        (sys.executable, "-m", "sdv2_host"),
        (*args, "--data-dir", str(tmp_path)),
        cwd=Path(__file__).parents[2],
    )
    process = HostProcess()
    with Courier(Wish(name)) as courier:
        process.start(launch)
        yield Rig(name, process, courier, launch)
    process.stop()
    until(lambda: not process.status.is_running)
    process.close(stops=True)


def test_a_host_is_played_killed_started_again_resized_and_stopped(rig: Rig) -> None:
    rig.reach(State.WAITING)
    assert rig.courier.status.version == __version__
    rig.play(numbered(1))
    first = rig.courier.status
    assert first.pid == rig.process.status.pid

    os.kill(first.pid, signal.SIGKILL)
    rig.reach(State.NO_HOST)
    until(lambda: "killed by SIGKILL" in rig.process.status.sentence, "", rig.tell)
    rig.process.start(rig.launch)
    rig.play(numbered(2))
    assert rig.courier.status.pid != first.pid

    rig.play(numbered(3, 96, 64))
    until(lambda: rig.courier.status.output_size == Size(96, 64), "", rig.tell)
    rig.process.stop()
    rig.reach(State.NO_HOST)
    until(lambda: not rig.process.status.is_running)
    assert rig.process.status.sentence == "Stopped."
    assert any("ready" in line for line in rig.process.log())
    assert not is_running(first.pid)
    rig.courier.close()
    assert descriptors(rig.name) == []


def test_values_actions_and_errors_go_both_ways(rig: Rig) -> None:
    told: dict[str, object] = {}

    def is_told(address: str, value: object) -> bool:
        told.update(rig.courier.changes())
        return told.get(address) == value

    rig.reach(State.WAITING)
    until(lambda: is_told("/sdv2/prompt", "watercolor painting"), "", lambda: told)
    rig.courier.set("/sdv2/steps", 99)
    until(lambda: is_told("/sdv2/steps", 4), "clamped", lambda: told)
    rig.courier.set("/sdv2/no/such", 1.0)
    until(lambda: rig.courier.status.complaints, "", rig.tell)
    rig.play(numbered(1))
    rig.courier.call("/sdv2/panic")
    rig.reach(State.HELD)
    rig.courier.call("/sdv2/resume")
    until(lambda: rig.courier.status.state is not State.HELD, "resumed", rig.tell)
    until(lambda: rig.courier.status.spans_ms.get("convert"), "", rig.tell)
    until(lambda: rig.courier.status.latency_ms > 0, "", rig.tell)

    assert rig.courier.status.complaints[0].origin == "/sdv2/no/such"
    assert rig.courier.status.heartbeat_age_s is not None


def test_a_render_is_exact_and_a_pause_in_it_is_told(rig: Rig) -> None:
    rig.reach(State.WAITING)
    rig.play(numbered(99))
    shown = [rig.courier.exchange(Picture(numbered(n)), DEADLINE_S) for n in range(23)]

    assert shown[:3] == [None] * 3
    for number, frame in enumerate(shown[3:]):
        assert frame is not None
        np.testing.assert_array_equal(frame.pixels, levels(numbered(number)))

    rig.courier.set("/sdv2/pause", True)
    rig.reach(State.PAUSED)
    with pytest.raises(LockstepError, match="Paused"):
        render_on(rig.courier)
    rig.courier.set("/sdv2/pause", False)
    rig.play(numbered(100))


def render_on(courier: Courier) -> None:
    for number in range(10):
        courier.exchange(Picture(numbered(number)), 0.5)


def test_a_host_that_hangs_is_told_holds_up_nobody_and_is_live_when_it_goes_on(rig: Rig) -> None:
    rig.reach(State.WAITING)
    rig.play(numbered(1))
    pid = rig.courier.status.pid

    os.kill(pid, signal.SIGSTOP)
    try:
        rig.reach(State.HUNG)
        for number in range(100):
            rig.courier.send_frame(Picture(numbered(number)))
        with Courier(Wish(rig.name)) as second:
            until(lambda: second.status.port, "", lambda: second.status)
    finally:
        os.kill(pid, signal.SIGCONT)
    rig.play(numbered(2))
