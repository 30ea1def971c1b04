"""`python -m sdv2_host.sinks.virtual_camera`: the output ring as a camera of this machine.

Any program that opens a webcam shows the picture: meetings, browsers, OBS. Through pyvirtualcam, an
extra, in a process of its own, since drivers block and crash. A steady rate whatever the show
does: the newest frame at each tick, again and again where nothing is new. The size is that of the
first picture for as long as the camera is open, since programs that have it open keep to it;
pictures of other sizes are scaled into it. A camera that cannot be opened or goes away is tried
again for ever.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.sinks.child import StateTeller, begin_child, run_sink
from sdv2_host.sinks.fit import fit
from sdv2_host.types import Size

log = logging.getLogger(__name__)

RETRY_S = 2.0
FIRST_PICTURE_POLL_S = 0.02
LATE_NS = 100 * NS_PER_MS
"""A tick that is later than this is left out, not caught up with."""
INSTALL = {
    "linux": "load v4l2loopback: sudo apt-get install v4l2loopback-dkms && sudo modprobe "
    "v4l2loopback video_nr=10 exclusive_caps=1 card_label=StreamDiffusion",
    "win32": "install OBS Studio (winget install OBSProject.OBSStudio), which brings its camera, "
    "or Unity Capture (https://github.com/schellingb/UnityCapture)",
    "darwin": "install OBS Studio 30 or newer (brew install --cask obs), then start and stop its "
    "virtual camera once in OBS, which macOS asks you to allow",
}
"""What a machine without a virtual camera needs."""


class Camera(Protocol):
    """A pyvirtualcam.Camera, as far as it is used here."""

    @property
    def device(self) -> str: ...

    @property
    def backend(self) -> str: ...

    def send(self, frame: NDArray[np.uint8]) -> None: ...

    def close(self) -> None: ...


def load_pyvirtualcam() -> ModuleType:
    """The extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyvirtualcam  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"--virtual-camera needs pyvirtualcam ({error}); install it: "
            "pip install 'sdv2-host[camera]'"
        ) from error
    package: ModuleType = pyvirtualcam
    return package


class CameraError(HostError):
    """There is no camera now; there may be one later."""


class VirtualCamera:
    """Sends to a camera until told to stop. Used by one thread.

    Fields, per process: the camera while it is open, with the size it was opened at.
    """

    def __init__(self, package: ModuleType, device: str, fps: float, teller: StateTeller) -> None:
        """`device` '' = any."""
        self._package: Any = package
        self._device = device
        self._fps = fps
        self._teller = teller

    def run(self, newest: Callable[[], NDArray[np.uint8] | None], stop: threading.Event) -> None:
        """`newest` gives the newest picture, RGBA; None = there was none yet."""
        self._teller.tell("waiting for the first picture")
        while (first := newest()) is None:
            if stop.wait(FIRST_PICTURE_POLL_S):
                return
        height, width = first.shape[:2]
        size = Size(width - width % 2, height - height % 2)  # drivers take pixels in pairs
        while not stop.is_set():
            try:
                self._play(self._open(size), size, newest, stop)
            except CameraError as error:
                self._teller.tell(f"{error}; trying again", is_problem=True)
                stop.wait(RETRY_S)

    def _open(self, size: Size) -> Camera:
        """Raises: CameraError."""
        try:
            camera: Camera = self._package.Camera(
                width=size.width,
                height=size.height,
                fps=self._fps,
                fmt=self._package.PixelFormat.RGB,
                device=self._device or None,
            )
        except Exception as error:  # backends are free to raise what they like
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CameraError(f"no virtual camera ({reason}): {_advice()}") from error
        self._teller.tell(
            f"{camera.device} by {camera.backend}, {size} at {self._fps:g} frames a second"
        )
        return camera

    def _play(
        self,
        camera: Camera,
        size: Size,
        newest: Callable[[], NDArray[np.uint8] | None],
        stop: threading.Event,
    ) -> None:
        """Raises: CameraError when the camera goes away."""
        interval_ns = round(NS_PER_S / self._fps)
        due_ns = now_ns()
        shown: NDArray[np.uint8] | None = None
        rgb = np.zeros((size.height, size.width, 3), np.uint8)
        try:
            while not stop.wait(max(0, due_ns - now_ns()) / NS_PER_S):
                picture = newest()
                if picture is not None and picture is not shown:
                    shown = picture
                    rgb = np.ascontiguousarray(fit(picture, size)[..., :3])
                _send(camera, rgb)
                due_ns += interval_ns
                if now_ns() - due_ns > LATE_NS:
                    due_ns = now_ns()
        finally:
            try:
                camera.close()
            except Exception:  # as in _open
                log.warning("the virtual camera did not close", exc_info=True)


def _send(camera: Camera, rgb: NDArray[np.uint8]) -> None:
    """Raises: CameraError when the camera goes away."""
    try:
        camera.send(rgb)
    except Exception as error:  # as in _open
        raise CameraError(f"the virtual camera went away ({error})") from error


def _advice() -> str:
    return INSTALL.get(sys.platform, "none is known for this system")


class NewestPicture:
    """The newest picture of a ring, as RGBA; the same array as long as nothing is new."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        self._picture: NDArray[np.uint8] | None = None

    def __call__(self) -> NDArray[np.uint8] | None:
        frame = self._reader.read_newest()
        if frame is not None:
            self._picture = to_rgba8(frame)
        return self._picture


def main(argv: list[str]) -> int:
    """The exit code, after it was told to end."""
    parser = argparse.ArgumentParser(prog="sdv2_host.sinks.virtual_camera", description="A camera.")
    parser.add_argument("--stream", required=True, help="name of the ring to show")
    parser.add_argument("--run-dir", type=Path, help="folder of the rings' descriptors")
    parser.add_argument("--device", default="", help="which camera, '' = any")
    parser.add_argument("--fps", type=float, required=True, help="frames per second")
    args = parser.parse_args(argv)
    stop = begin_child()

    def run() -> None:
        camera = VirtualCamera(
            load_pyvirtualcam(), args.device, args.fps, StateTeller(sys.stdout.buffer)
        )
        with FrameReader(args.stream, run_dir=args.run_dir) as reader:
            camera.run(NewestPicture(reader), stop)

    return run_sink(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
