"""Real OBS under Xvfb, played by obs-websocket v5."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.obs.obs_home import NAME, PASSWORD, install_plugin, write_home

PLUGIN = Path(__file__).parents[2] / "plugins" / "obs"
START_S = 30.0
STOP_S = 15.0
QUIET_S = 0.5
NOT_READY = 207
COLD_RESTARTED = (NOT_READY, 500)

MISSING = [
    program for program in ("obs", "Xvfb", "cmake", "gcc") if shutil.which(program) is None
] + ([] if Path("/usr/include/obs/obs-module.h").exists() else ["libobs-dev"])

needs_obs = pytest.mark.skipif(
    bool(MISSING),
    reason=f"not on this machine: {', '.join(MISSING)} "
    "(apt-get install obs-studio obs-plugins libobs-dev xvfb cmake gcc libgl1 libgl1-mesa-dri)",
)


class ObsError(Exception):
    """OBS answered no."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(f"{code}: {comment}")
        self.code = code


class ObsSocket:
    """One obs-websocket connection that keeps error codes."""

    def __init__(self, port: int) -> None:
        import websocket  # noqa: PLC0415  # not there where OBS is not

        self._ids = itertools.count()
        self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}", timeout=20)
        hello = json.loads(self._socket.recv())["d"]
        identify: dict[str, Any] = {"rpcVersion": 1, "eventSubscriptions": 0}
        if "authentication" in hello:
            secret = _sha256(PASSWORD + hello["authentication"]["salt"])
            identify["authentication"] = _sha256(secret + hello["authentication"]["challenge"])
        self._socket.send(json.dumps({"op": 1, "d": identify}))
        assert json.loads(self._socket.recv())["op"] == 2

    def call(self, request: str, **data: object) -> dict[str, Any]:
        number = str(next(self._ids))
        message = {"requestType": request, "requestId": number, "requestData": data}
        self._socket.send(json.dumps({"op": 6, "d": message}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer["op"] == 7 and answer["d"]["requestId"] == number:
                break
        status = answer["d"]["requestStatus"]
        if not status["result"]:
            raise ObsError(status["code"], status.get("comment", ""))
        return answer["d"].get("responseData") or {}

    def close(self) -> None:
        self._socket.close()


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build_plugin(folder: Path) -> Path:
    """The module, built as a user builds it; no warning is let through."""
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    flags = ["-DCMAKE_C_FLAGS=-Werror"]
    subprocess.run(
        ["cmake", "-S", PLUGIN, "-B", folder, *ninja, *flags], check=True, capture_output=True
    )
    build = ["cmake", "--build", folder]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout
    return folder / "sdv2.so"


def segments_of(pid: int) -> set[Path]:
    """Shared-memory segments that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {Path(found) for found in re.findall(r"/dev/shm/lfr\.[0-9a-f]{20}", maps)}


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """An X server without a screen; yields its DISPLAY."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as answer:
            yield f":{answer.readline().strip()}"
    finally:
        server.terminate()
        server.wait(10)


class RunningObs:
    """OBS with a home of its own. Killed or stopped, it starts again with the same collection."""

    def __init__(
        self,
        home: Path,
        display: str,
        module: Path | None,
        *,
        size: tuple[int, int] = (640, 480),
        fps: int = 30,
        preview: bool = False,
        root: Path | None = None,
    ) -> None:
        """With `root`, the OBS of the system that is in this folder; see newer_obs.py."""
        self._command = ["obs"] if root is None else ["/usr/sbin/chroot", str(root), "obs"]
        self.home = home
        self._display = display
        self._port = free_port()
        home.mkdir(exist_ok=True)
        write_home(home, self._port, size=size, fps=fps, preview=preview)
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        if module is not None:
            install_plugin(home, module, PLUGIN / "data")
        self.start()

    def start(self) -> None:
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "DISPLAY": self._display,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "QT_QPA_PLATFORM": "xcb",
        }
        quiet = ["--disable-shutdown-check", "--disable-updater", "--disable-missing-files-check"]
        chosen = ["--profile", NAME, "--collection", NAME]
        self.process = subprocess.Popen(
            [*self._command, "--multi", "--minimize-to-tray", *quiet, *chosen],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._connect()

    def _connect(self) -> None:
        """Connected and ready: the port is open a moment before requests are taken."""
        give_up = time.monotonic() + START_S
        while True:
            try:
                self._socket = ObsSocket(self._port)
                self._socket.call("GetSceneList")
                return
            except (OSError, ObsError) as error:
                if time.monotonic() > give_up or self.process.poll() is not None:
                    raise AssertionError(f"OBS did not start: {error}\n{self.log()}") from error
                time.sleep(0.1)

    def connect(self) -> ObsSocket:
        """One more connection, for another thread."""
        return ObsSocket(self._port)

    def call(self, request: str, **data: object) -> dict[str, Any]:
        return self._socket.call(request, **data)

    def log(self) -> str:
        """Of the present or last run."""
        logs = sorted((self.home / ".config/obs-studio/logs").glob("*.txt"))
        return logs[-1].read_text() if logs else ""

    def warnings(self) -> list[str]:
        """What the log says that is neither information nor the same in every run."""
        lines = [re.sub(r"^[0-9:.]+: ", "", line) for line in self.log().splitlines()]
        return [line for line in lines if re.search(r"warn|error|fail|leak", line, re.IGNORECASE)]

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def screenshot(self, source: str) -> NDArray[np.uint8]:
        """[H, W, 4] as the source is rendered now."""
        answer = self.call("GetSourceScreenshot", sourceName=source, imageFormat="png")
        raw = base64.b64decode(answer["imageData"].split(",", 1)[1])
        with Image.open(io.BytesIO(raw)) as image:
            return np.asarray(image.convert("RGBA"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Ended as by its window; the collection is saved.

        OBS closes its window inside the signal handler: when the signal finds its main thread in
        malloc, it waits for itself for ever. So the thread gets time to come to rest first.
        """
        if self.process.poll() is not None:
            return
        self._socket.close()  # its server would wait for us five seconds
        time.sleep(QUIET_S)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
