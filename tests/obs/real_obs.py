"""A real OBS on a screen of its own (Xvfb), with a home that is thrown away.

Its WebSocket is on, it asks nothing, it has one profile and one collection with the scene 'Main'.
OBS 29, 30 and 32 accept this home. Linux, without a GPU too.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdv2_host.obs.client import ObsAddress, ObsClient, ObsError, ObsRefusedError
from sdv2_host.types import Size
from tests.obs.obs_home import NAME, PASSWORD, write_home

CANVAS = Size(640, 480)
"""Small: without a GPU OBS draws 30 of these a second, of 1080p a third."""
START_S = 30.0
MISSING = [tool for tool in ("obs", "Xvfb") if shutil.which(tool) is None]
WHY_SKIPPED = f"{' and '.join(MISSING)} missing: apt-get install obs-studio obs-plugins xvfb"


def free_port() -> int:
    """A TCP port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_home(home: Path, port: int, canvas: Size, fps: int) -> Path:
    """The config folder of OBS in this home."""
    write_home(home, port, size=canvas, fps=fps)
    (home / "run").mkdir(mode=0o700, exist_ok=True)
    return home / ".config" / "obs-studio"


class RealObs:
    """Runs from `start` to `close`; may be stopped and started in between."""

    def __init__(self, home: Path, canvas: Size = CANVAS, fps: int = 30) -> None:
        self.home = home
        self.port = free_port()
        self.config = make_home(home, self.port, canvas, fps)
        self.log = home / "obs.log"
        self._screen: subprocess.Popen[bytes] | None = None
        self._obs: subprocess.Popen[bytes] | None = None
        self._client: ObsClient | None = None

    def __enter__(self) -> RealObs:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> ObsAddress:
        return ObsAddress("127.0.0.1", self.port)

    @property
    def client(self) -> ObsClient:
        assert self._client is not None, "started"
        return self._client

    @property
    def pid(self) -> int:
        assert self._obs is not None, "started"
        return self._obs.pid

    def start(self) -> None:
        """OBS answers requests."""
        display = self._display()
        path = self.home
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "DISPLAY": display,
            "HOME": str(path),
            "XDG_CONFIG_HOME": str(path / ".config"),
            "XDG_RUNTIME_DIR": str(path / "run"),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "QT_QPA_PLATFORM": "xcb",
        }
        command = ["obs", "--multi", "--minimize-to-tray", "--disable-shutdown-check"]
        command += ["--disable-updater", "--disable-missing-files-check"]
        command += ["--profile", NAME, "--collection", NAME]
        with self.log.open("ab") as log:
            self._obs = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._client = self._wait_for_client()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """OBS has ended; the screen stays."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._obs is not None:
            self._obs.send_signal(number)
            try:
                self._obs.wait(10)
            except subprocess.TimeoutExpired:
                self._obs.kill()
                self._obs.wait()
            self._obs = None

    def close(self) -> None:
        self.stop()
        if self._screen is not None:
            self._screen.terminate()
            self._screen.wait()
            self._screen = None

    def screenshot(self, source: str) -> NDArray[np.uint8]:
        """What the source shows now, [H, W, 4] RGBA."""
        answer = self.client.request("GetSourceScreenshot", sourceName=source, imageFormat="png")
        raw = base64.b64decode(answer["imageData"].partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGBA"))

    def shows(self, source: str, pixels: NDArray[np.uint8]) -> bool:
        """Whether the source shows exactly this now."""
        try:
            seen = self.screenshot(source)
        except ObsRefusedError:  # it has no picture yet
            return False
        return seen.shape == pixels.shape and bool((seen == pixels).all())

    def _display(self) -> str:
        """Of a screen that is there."""
        if self._screen is None:
            reading, writing = os.pipe()
            self._screen = subprocess.Popen(
                ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24"],
                pass_fds=[writing],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            os.close(writing)
            with os.fdopen(reading) as pipe:
                self._number = pipe.readline().strip()
            assert self._number, "Xvfb ended"
        return f":{self._number}"

    def _wait_for_client(self) -> ObsClient:
        assert self._obs is not None
        deadline_s = time.monotonic() + START_S
        while self._obs.poll() is None and time.monotonic() < deadline_s:
            try:
                return ObsClient.connect(self.address, PASSWORD)
            except ObsError:
                time.sleep(0.2)
        raise AssertionError(f"OBS did not start: {self.log.read_text(errors='replace')[-2000:]}")
