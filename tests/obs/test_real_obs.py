"""Against the real OBS, on a screen of its own: what setup makes, and what then is to be seen."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.clock import now_ns
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.obs.build import SOURCE, missing_tools
from sdv2_host.obs.client import ObsClient, ObsError, ObsPasswordError
from sdv2_host.obs.scene import Wish, media_name, set_up, source_name
from sdv2_host.types import FrameMeta, Size
from tests.hosts import RunningHost, sdv2_host, unique_name
from tests.obs.obs_home import PASSWORD
from tests.obs.real_obs import MISSING, WHY_SKIPPED, RealObs, free_port

PICTURE = Size(640, 480)
BACK_S = 3.0


@pytest.fixture(scope="module")
def obs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealObs]:
    """One for all tests of this module."""
    if MISSING:
        pytest.skip(WHY_SKIPPED)
    with RealObs(tmp_path_factory.mktemp("obs")) as running:
        yield running


def picture(number: int) -> NDArray[np.uint8]:
    """RGBA with every level of every channel somewhere, moved by `number`; opaque."""
    x, y = np.meshgrid(np.arange(PICTURE.width), np.arange(PICTURE.height))
    channels = (x + number, y + 2 * number, x + y, np.full_like(x, 255))
    return np.stack([channel & 255 for channel in channels], axis=2).astype(np.uint8)


class Source:
    """A program that fills a host's input ring at 30 frames a second with one picture."""

    def __init__(self, stream: str) -> None:
        self.picture = picture(0)
        self._stop = threading.Event()
        self._stream = stream
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Source:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with FrameWriter(self._stream) as ring:
            while not self._stop.wait(1 / 30):
                meta = FrameMeta(PICTURE.width, PICTURE.height, capture_ts_ns=now_ns())
                ring.publish(self.picture, meta)


def until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Seconds that it took to come true."""
    begin_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begin_s < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - begin_s


def obs_command(obs: RealObs, tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """`sdv2-host obs ARGS`, with the way to this OBS."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    there = ("--address", str(obs.address), "--password-file", str(secret))
    return sdv2_host("obs", *args, *there)


@contextmanager
def host(name: str, data: Path, *args: str) -> Iterator[RunningHost]:
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(data))
    size = ("--size", str(PICTURE))
    with RunningHost("run", "--name", name, *options, *size, *args) as running:
        running.wait_for("control page")
        yield running


def test_without_a_plugin_the_picture_is_exact_and_comes_back_after_a_kill(
    obs: RealObs, tmp_path: Path
) -> None:
    name, port = unique_name(), str(free_port())
    shown = media_name(name)
    with Source(f"{name}-in") as source:
        with host(name, tmp_path, "--obs-port", port) as running:
            until(lambda: "live" in sdv2_host("status", "--name", name).stdout, 10)
            first = obs_command(obs, tmp_path, "setup", "--no-plugin", "--name", name)
            second = obs_command(obs, tmp_path, "setup", "--no-plugin", "--name", name)

            assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
            until(lambda: obs.shows(shown, source.picture), 5)
            source.picture = picture(50)
            until(lambda: obs.shows(shown, source.picture), 2)
            running.stop(signal.SIGKILL)
        assert obs.shows(shown, source.picture)  # held while nobody is there
        source.picture = picture(100)
        with host(name, tmp_path, "--obs-port", port):
            back_s = until(lambda: obs.shows(shown, source.picture), BACK_S)
    assert "made scene 'StreamDiffusion'" in first.stdout
    assert "fitted it to the canvas, 640x480" in first.stdout
    assert not re.search("made|fitted it|changed|put it", second.stdout), second.stdout
    print(f"back {back_s:.2f} s after the host was ready again")


def test_an_obs_started_again_shows_the_picture_by_itself(obs: RealObs, tmp_path: Path) -> None:
    name, port = unique_name(), free_port()
    with Source(f"{name}-in") as source, host(name, tmp_path, "--obs-port", str(port)):
        wish = Wish(name, feed_port=port, picture=PICTURE, has_plugin=False)
        set_up(obs.client, wish, print)
        until(lambda: obs.shows(media_name(name), source.picture), 10)
        obs.stop()  # which saves its collection
        source.picture = picture(7)
        obs.start()

        until(lambda: obs.shows(media_name(name), source.picture), BACK_S)


@pytest.mark.skipif(not (SOURCE / "CMakeLists.txt").exists(), reason="the plug-in is not here")
@pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
def test_an_installed_plugin_takes_a_source_to_the_host_and_shows_it_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if MISSING:
        pytest.skip(WHY_SKIPPED)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    name, own = unique_name(), RealObs(tmp_path / "home")
    installed = sdv2_host("obs", "install", "--obs", str(own.config))
    with own, host(name, tmp_path / "data"):
        size = {"width": PICTURE.width, "height": PICTURE.height}
        own.client.request(
            "CreateInput",
            sceneName="Main",
            inputName="Colour",
            inputKind="color_source_v3",
            inputSettings={"color": 0xFF4080C0, **size},
        )
        runs = [
            obs_command(own, tmp_path, "setup", "--name", name, "--filter-on", "Colour")
            for _ in range(2)
        ]
        colour = np.full((PICTURE.height, PICTURE.width, 4), (192, 128, 64, 255), np.uint8)
        until(lambda: own.shows(source_name(name), colour), 10)
        status = obs_command(own, tmp_path, "status").stdout
    removed = sdv2_host("obs", "uninstall")

    assert (installed.returncode, removed.returncode) == (0, 0), installed.stderr
    assert "made filter" in runs[0].stdout
    assert "made" not in runs[1].stdout
    assert "plug-in sdv2: loaded" in status
    assert not (own.config / "plugins" / "sdv2").exists()


def test_a_wrong_password_says_where_the_right_one_stands(obs: RealObs) -> None:
    with pytest.raises(ObsPasswordError, match=r"refuses the password.*Show Connect Info"):
        ObsClient.connect(obs.address, "wrong")
    with pytest.raises(ObsPasswordError, match="wants a password"):
        ObsClient.connect(obs.address, "")


def test_a_scene_switch_triggers_a_preset_and_a_cue_also_after_obs_was_killed(
    obs: RealObs, tmp_path: Path
) -> None:
    name = unique_name()
    for scene in ("Rain", "Doors"):
        obs.client.request("CreateScene", sceneName=scene)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "config.toml").write_text(
        f"""
        [obs]
        follow = true
        address = "{obs.address}"
        password_file = "{tmp_path / "password"}"
        [obs.scenes]
        "Rain" = {{ preset = "Neon Rain", fade = 0 }}
        "Doors" = {{ cue = "1" }}
        """
    )
    with host(name, tmp_path):
        status = lambda: sdv2_host("status", "--json", "--name", name).stdout  # noqa: E731
        until(lambda: '"connects": 1' in status(), 10)
        sdv2_host("cue", "load", "First night", "--name", name)
        obs.client.request("SetCurrentProgramScene", sceneName="Rain")
        until(lambda: '"triggered": 1' in status(), 5)
        presets = sdv2_host("preset", "list", "--name", name).stdout
        obs.client.request("SetCurrentProgramScene", sceneName="Doors")
        until(lambda: '"triggered": 2' in status(), 5)
        cues = sdv2_host("cue", "list", "--name", name).stdout

        obs.stop(signal.SIGKILL)
        obs.start()
        until(lambda: '"connects": 2' in status(), 10)
        for scene in ("Main", "Rain"):
            obs.client.request("SetCurrentProgramScene", sceneName=scene)
        until(lambda: '"scene": "Rain"' in status(), 5)
        triggered = json.loads(status())["obs"]["triggered"]

    assert triggered >= 3
    assert "* Neon Rain" in presets
    assert "* 1 doors" in cues


def test_status_knows_what_obs_has(obs: RealObs, tmp_path: Path) -> None:
    done = obs_command(obs, tmp_path, "status")

    assert done.returncode == 0
    assert "plug-in sdv2: not loaded" in done.stdout
    assert "(no plugin)' shows host" in done.stdout


def test_without_obs_the_answer_says_what_to_switch_on() -> None:
    done = sdv2_host("obs", "status", "--address", f"127.0.0.1:{free_port()}")

    assert done.returncode == ObsError.exit_code
    assert "Enable WebSocket server" in done.stderr
