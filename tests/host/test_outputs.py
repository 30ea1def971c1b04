"""A host whose output goes to a virtual camera and to the feed: real processes, our own camera."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.host.daemon import Daemon
from sdv2_host.params import Params
from tests.host.live_host import QUICK, Stage, is_alive, left_segments, picture
from tests.hosts import children

pytest.importorskip("pyvirtualcam", reason="the extra 'camera' is not installed")

FAKE = Path(__file__).parent / "fake_camera"
ROOT = FAKE.parent.parent.parent


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the camera of the host's processes writes to."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(FAKE), str(ROOT))))
    return tmp_path / "camera.rgb"


def config_of(stream: str, tmp_path: Path, **changes: object) -> Config:
    base = {"name": stream, "engine": "passthrough", "port": 0, "resume": "default"}
    return Config.model_validate({**base, "data_dir": str(tmp_path), **changes})


async def run(config: Config, run_dir: Path) -> Stage:
    daemon = Daemon(config, Params(), run_dir=run_dir, limits=QUICK)
    stop = asyncio.Event()
    return Stage(daemon, stop, asyncio.create_task(daemon.run(stop)), run_dir)


def shows_what_was_sent(stage: Stage, camera: Path) -> bool:
    """The camera's frame is one of the last that the source sent."""
    if not camera.exists():
        return False
    raw = camera.read_bytes()
    newest = range(max(1, stage.sent - 50), stage.sent + 1)
    return any(raw == np.ascontiguousarray(picture(n)[..., :3]).tobytes() for n in newest)


def test_the_camera_shows_the_output_and_a_crash_of_its_driver_stops_nothing(
    stream: str, run_dir: Path, tmp_path: Path, camera: Path
) -> None:
    others = set(children(os.getpid()))  # Python's own, of tests before

    async def body() -> set[int]:
        config = config_of(stream, tmp_path, virtual_camera=True, camera_device=str(camera))
        stage = await run(config, run_dir)
        await stage.until(stage.daemon.ready.is_set)
        peers = [asyncio.create_task(stage.publish_frames()), asyncio.create_task(stage.view())]
        try:
            await stage.until(lambda: shows_what_was_sent(stage, camera))
            size = "24x16 at 30 frames a second"
            await stage.until(lambda: size in stage.daemon.snapshot().camera)

            camera.with_suffix(".crash").touch()
            await stage.until(lambda: "starting again" in stage.daemon.snapshot().camera)
            camera.with_suffix(".crash").unlink()
            camera.unlink()
            before = len(stage.fresh)
            await stage.until(lambda: shows_what_was_sent(stage, camera))

            assert len(stage.fresh) > before
            assert stage.daemon.snapshot().worker_restarts == 0
            processes = set(children(os.getpid())) - others
        finally:
            for peer in peers:
                peer.cancel()
            await asyncio.wait(peers)
            stage.stop.set()
            await asyncio.wait({stage.running})
        assert left_segments(stage.segments) == []
        return processes

    assert not any(is_alive(pid) for pid in asyncio.run(body()))


def test_the_feeds_port_in_use_stops_the_start(stream: str, run_dir: Path, tmp_path: Path) -> None:
    async def body(port: int) -> None:
        stage = await run(config_of(stream, tmp_path, obs_port=port), run_dir)
        await stage.running

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--obs-port {port} cannot be used"):
            asyncio.run(body(port))
    assert list(run_dir.glob("*.json")) == []
