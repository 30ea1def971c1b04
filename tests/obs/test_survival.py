"""kill -9 of the daemon, its worker and OBS: the others go on, and the picture comes back."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.hosts import RunningHost, children, is_running, unique_name
from tests.obs.numbered import number_of
from tests.obs.obs_process import ObsError, RunningObs, needs_obs, segments_of
from tests.obs.stage import Stage
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

BACK_WITHIN_S = 3.0
VICTIMS = ("daemon", "worker", "obs")
ORDERS = list(itertools.permutations(VICTIMS))


class Show:
    """A camera, OBS and a host between its filter and its source, each of which can be killed."""

    def __init__(self, home: Path, display: str, plugin: Path, data: Path) -> None:
        self.name = unique_name()
        self._data = data
        self.segments: set[Path] = set()
        """All that the killed and the survivors ever had mapped."""
        self.camera = ToyHost(unique_name())
        self.obs = RunningObs(home, display, plugin, size=(320, 240))
        self.daemon = self._start_daemon()
        self._stage = Stage(self.obs, "show")
        source = self._stage.add_source(self.camera.name, "camera")
        self._stage.add_filter(source, self.name)
        self.styled = self._stage.add_source(self.name, "styled")
        self.camera.play(320, 240, 15)

    def _start_daemon(self) -> RunningHost:
        options = ("--engine", "passthrough", "--size", "320x240", "--port", "0")
        host = RunningHost("run", *options, "--name", self.name, "--data-dir", str(self._data))
        host.wait_for("http")
        return host

    def save_collection(self) -> None:
        """OBS writes its collection when it is stopped; killed, it starts with the one before."""
        self.obs.stop()
        self.obs.start()

    def kill(self, victim: str) -> float:
        """Seconds until the picture moved again after the victim was back."""
        self._note_segments()
        if victim == "daemon":
            self.daemon.stop(signal.SIGKILL)
            self.daemon.__exit__()
            assert self.obs.process.poll() is None
            self.daemon = self._start_daemon()
        elif victim == "worker":
            worker = worker_of(self.daemon.process.pid)
            os.kill(worker, signal.SIGKILL)
            wait_until_gone(worker)
            assert self.daemon.process.poll() is None
        else:
            self.obs.kill()
            assert self.daemon.process.poll() is None
            self.obs.start()
        begin = time.monotonic()
        self.wait_for_movement()
        return time.monotonic() - begin

    def _note_segments(self) -> None:
        for pid in (self.obs.process.pid, *children(self.daemon.process.pid)):
            self.segments |= segments_of(pid)
        self.segments |= segments_of(self.daemon.process.pid)

    def wait_for_movement(self) -> None:
        """A picture that left the camera after now is on screen."""
        newest = max(self.camera.left_ns)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                picture = self.obs.screenshot(self.styled)
            except ObsError:
                continue  # no size yet
            is_whole = picture.shape[:2] == (240, 320) and picture[..., 3].all()
            if is_whole and newest < number_of(picture) <= max(self.camera.left_ns):
                return
            time.sleep(0.02)
        raise AssertionError(f"no picture after {newest}: {self.obs.log()[-2000:]}")

    def close(self) -> None:
        self.obs.stop()
        self.daemon.__exit__()
        self.camera.close()


def worker_of(daemon: int) -> int:
    (worker,) = [
        pid
        for pid in children(daemon)
        if b"sdv2_host.host.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return worker


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def show(plugin: Path, display: str, tmp_path: Path) -> Iterator[Show]:
    home, data = tmp_path / "home", tmp_path / "data"
    home.mkdir()
    data.mkdir()
    running = Show(home, display, plugin, data)
    yield running
    running.close()


def rounds(orders: list[tuple[str, ...]], show: Show) -> dict[str, list[float]]:
    """Seconds until the picture came back, by victim."""
    took: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
    show.save_collection()
    show.wait_for_movement()
    for victim in itertools.chain.from_iterable(orders):
        took[victim].append(show.kill(victim))
    return took


@pytest.mark.parametrize(
    "num_rounds", [1, pytest.param(10, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_after_each_kill_the_picture_comes_back_by_itself(
    show: Show, num_rounds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    took = rounds([ORDERS[index % len(ORDERS)] for index in range(num_rounds)], show)

    with capsys.disabled():
        for victim, seconds in took.items():
            print(
                f"\n{victim} killed {len(seconds)} times: picture back "
                f"{np.mean(seconds):.2f} s after it ran again, at most {max(seconds):.2f}",
                end="",
            )
    assert max(itertools.chain.from_iterable(took.values())) < BACK_WITHIN_S
    show.close()
    assert len(show.segments) >= 3 + 3 * num_rounds
    assert [path for path in show.segments if path.exists()] == []


def test_the_collection_brings_source_and_filter_back_and_sends_no_look(
    plugin: Path, display: str, tmp_path: Path
) -> None:
    gone = unique_name()
    picture = np.full((100, 200, 4), (1, 2, 3, 255), np.uint8)
    obs = RunningObs(tmp_path, display, plugin, size=(320, 240))
    stage = Stage(obs, "kept")
    with ToyHost(gone) as host:
        host.show(np.zeros((90, 160, 4), np.uint8))
        lonely = stage.add_source(gone, "lonely")
        assert stage.picture(lonely, np.full((90, 160, 4), (0, 0, 0, 255))) == 0
    with ToyHost(unique_name()) as host:
        host.show(picture)
        source = stage.add_source(host.name, prompt="neon")
        stage.add_filter(source, host.name)
        assert host.next_input() is not None

        obs.stop()
        host.input.read_newest()
        assert host.next_input(0.5) is None
        obs.start()

        try:
            frame = host.next_input(5)
            assert frame is not None
            assert (frame.pixels == picture).all()
            assert stage.picture(source, picture) == 0
            assert obs.screenshot(lonely).shape == (90, 160, 4)  # the layout of its scene stays
            assert host.is_told_nothing(1.2)
        finally:
            obs.stop()
