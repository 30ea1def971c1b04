"""The virtual camera, with a backend of our own registered at pyvirtualcam."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.errors import ConfigError
from sdv2_host.sinks import virtual_camera as virtual_camera_module
from sdv2_host.sinks.child import StateTeller
from sdv2_host.sinks.fit import fit
from sdv2_host.sinks.virtual_camera import VirtualCamera, load_pyvirtualcam
from sdv2_host.types import Size

pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="the extra 'camera' is not installed")

FPS = 50.0


class Driver:
    """What the backend below sends to; its cable can be pulled."""

    is_there = True
    frames: list[tuple[float, NDArray[np.uint8]]]
    opened: list[Size]
    closed = 0


class Backend:
    """A camera of pyvirtualcam's shape. See pyvirtualcam.Backend."""

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None):
        if not Driver.is_there:
            raise RuntimeError("no device\nfound")
        self._device = device or "first camera"
        Driver.opened.append(Size(width, height))

    def send(self, frame: NDArray[np.uint8]) -> None:
        if not Driver.is_there:
            raise OSError("unplugged")
        size = Driver.opened[-1]
        Driver.frames.append((time.monotonic(), frame.reshape(size.height, size.width, 3).copy()))

    def close(self) -> None:
        Driver.closed += 1

    def device(self) -> str:
        return self._device

    def native_fourcc(self) -> None:
        return None


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """pyvirtualcam with this backend alone."""
    before = dict(pyvirtualcam.camera.BACKENDS)
    pyvirtualcam.camera.BACKENDS.clear()
    pyvirtualcam.register_backend("test", Backend)
    Driver.is_there, Driver.frames, Driver.opened, Driver.closed = True, [], [], 0
    monkeypatch.setattr(virtual_camera_module, "RETRY_S", 0.05)
    yield pyvirtualcam
    pyvirtualcam.camera.BACKENDS.clear()
    pyvirtualcam.camera.BACKENDS.update(before)


class Shown:
    """A camera that runs in a thread, and the picture that it is given."""

    def __init__(self, package: ModuleType, picture: NDArray[np.uint8] | None = None) -> None:
        self.picture = picture
        self._said = io.BytesIO()
        self._stop = threading.Event()
        camera = VirtualCamera(package, "", FPS, StateTeller(self._said))
        self._thread = threading.Thread(target=camera.run, args=(lambda: self.picture, self._stop))

    def __enter__(self) -> Shown:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def said(self) -> list[str]:
        return [json.loads(line)["text"] for line in self._said.getvalue().splitlines()]

    def until_sent(self, pixels: NDArray[np.uint8]) -> None:
        deadline_s = time.monotonic() + 5
        while not (Driver.frames and (Driver.frames[-1][1] == pixels[..., :3]).all()):
            assert time.monotonic() < deadline_s, self.said()
            time.sleep(0.005)

    def until_said(self, text: str) -> str:
        deadline_s = time.monotonic() + 5
        while not any(text in line for line in self.said()):
            assert time.monotonic() < deadline_s, self.said()
            time.sleep(0.005)
        return next(line for line in self.said() if text in line)


def picture(number: int, size: Size = Size(32, 16)) -> NDArray[np.uint8]:  # noqa: B008
    shape = (size.height, size.width, 4)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def test_pictures_are_sent_at_a_steady_rate_new_or_not(package: ModuleType) -> None:
    with Shown(package, picture(1)) as shown:
        shown.until_sent(picture(1))
        shown.picture = picture(2)
        shown.until_sent(picture(2))
        time.sleep(1)

    times = np.array([sent_s for sent_s, _ in Driver.frames])
    rate = (len(times) - 1) / (times[-1] - times[0])
    assert FPS * 0.9 < rate < FPS * 1.1
    assert "first camera by test, 32x16 at 50 frames a second" in shown.said()
    assert Driver.closed == 1


def test_the_camera_opens_with_the_first_picture_and_keeps_its_size(package: ModuleType) -> None:
    with Shown(package) as shown:
        shown.until_said("waiting for the first picture")
        assert Driver.opened == []
        shown.picture = picture(1)
        shown.until_sent(picture(1))
        shown.picture = picture(2, Size(64, 64))
        shown.until_sent(fit(picture(2, Size(64, 64)), Size(32, 16)))

    assert Driver.opened == [Size(32, 16)]


def test_a_camera_that_goes_away_is_told_and_tried_again(package: ModuleType) -> None:
    with Shown(package, picture(1)) as shown:
        shown.until_sent(picture(1))
        Driver.is_there = False
        shown.until_said("went away (unplugged); trying again")
        shown.until_said("no virtual camera ('test' backend: no device found)")
        Driver.is_there = True
        shown.picture = picture(2)
        shown.until_sent(picture(2))

    assert len(Driver.opened) == 2


def test_without_the_package_the_answer_is_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)

    with pytest.raises(ConfigError, match=r"pip install 'sdv2-host\[camera\]'"):
        load_pyvirtualcam()


@pytest.mark.parametrize(
    ("system", "advice"),
    [
        ("linux", "modprobe v4l2loopback"),
        ("win32", "winget install OBSProject.OBSStudio"),
        ("darwin", "brew install --cask obs"),
    ],
)
def test_without_a_backend_the_way_to_one_is_told_for_each_system(
    package: ModuleType, monkeypatch: pytest.MonkeyPatch, system: str, advice: str
) -> None:
    Driver.is_there = False
    monkeypatch.setattr(virtual_camera_module.sys, "platform", system)
    with Shown(package, picture(1)) as shown:
        assert advice in shown.until_said("no virtual camera")
