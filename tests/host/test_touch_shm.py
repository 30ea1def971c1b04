"""A host with --touch-shm between a Shared Mem Out and a Shared Mem In TOP: real processes.

Windows' named objects are files here, in the host's process and in the TOPs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("files stand for Windows' objects here", allow_module_level=True)

from sdv2_host.errors import AlreadyRunningError, ConfigError
from sdv2_host.host.daemon import Daemon
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.sinks.touch_shm import open_input
from sdv2_host.types import FrameMeta
from tests.host.live_host import QUICK, Stage, is_alive, picture
from tests.host.test_outputs import config_of
from tests.hosts import children
from tests.ipc.touch_files import FileObjects
from tests.ipc.touch_tops import InTop, OutTop

FAKE = Path(__file__).parent / "fake_touch"
ROOT = FAKE.parent.parent.parent


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileObjects:
    """What the host's processes and the test see."""
    folder = tmp_path / "objects"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(FAKE), str(ROOT))))
    monkeypatch.setenv("SDV2_TEST_TOUCH", str(folder))
    return FileObjects(folder)


@asynccontextmanager
async def stage_of(stream: str, tmp_path: Path, run_dir: Path) -> AsyncIterator[Stage]:
    """A host with the name 'show', ready."""
    config = config_of(stream, tmp_path, touch_shm="show")
    daemon = Daemon(config, Params(), run_dir=run_dir, limits=QUICK)
    stop = asyncio.Event()
    stage = Stage(daemon, stop, asyncio.create_task(daemon.run(stop)), run_dir)
    try:
        await stage.until(daemon.ready.is_set)
        yield stage
    finally:
        stop.set()
        await asyncio.wait({stage.running})


async def write(top: OutTop, sent: list[int]) -> None:
    """TouchDesigner: a numbered picture 50 times a second."""
    while True:
        sent.append(len(sent) + 1)
        top.write(picture(sent[-1]))
        await asyncio.sleep(0.02)


def shows_one_of(top: InTop, sent: list[int]) -> bool:
    shown = top.cook()
    return shown is not None and any(np.array_equal(shown, picture(n)) for n in sent[-100:])


def text_of(stage: Stage) -> str:
    return stage.daemon.snapshot().touch_shm


def touch_process(others: set[int]) -> int:
    """The process of the bridge among this one's children."""
    mine = set(children(os.getpid())) - others
    return next(pid for pid in mine if b"touch_shm" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_what_an_out_top_writes_an_in_top_shows(
    stream: str, run_dir: Path, tmp_path: Path, objects: FileObjects
) -> None:
    others = set(children(os.getpid()))

    async def body() -> set[int]:
        async with stage_of(stream, tmp_path, run_dir) as stage:
            assert "'show-in': none in TouchDesigner" in text_of(stage)
            source, screen = OutTop(objects, "show-in"), InTop(objects, "show-out")
            sent: list[int] = []
            writing = asyncio.create_task(write(source, sent))
            await stage.until(lambda: shows_one_of(screen, sent))
            await stage.until(lambda: "'show-in': 24x16 8-bit fixed (RGBA)" in text_of(stage))
            await stage.until(lambda: "'show-out': 24x16, opened" in text_of(stage))

            os.kill(touch_process(others), signal.SIGKILL)
            await stage.until(lambda: "starting again" in text_of(stage))
            killed_at = len(sent)
            await stage.until(lambda: shows_one_of(screen, sent[killed_at:]))

            writing.cancel()
            source.close(tells=False)  # a crash of TouchDesigner
            await stage.until(lambda: "none in TouchDesigner" in text_of(stage))
            assert not (run_dir / f"{stream}-in.json").exists()
            processes = set(children(os.getpid())) - others
            stage.stop.set()
            await asyncio.wait({stage.running})
            assert screen.cook() is None
            return processes

    assert not any(is_alive(pid) for pid in asyncio.run(body()))
    assert objects.names() == set()


def test_what_cannot_be_styled_is_said_and_left_out(
    stream: str, run_dir: Path, tmp_path: Path, objects: FileObjects
) -> None:
    async def body() -> None:
        async with stage_of(stream, tmp_path, run_dir) as stage:
            top = OutTop(objects, "show-in")
            top.write(picture(1)[..., :2], code=16)
            await stage.until(lambda: "Pixel Format is 8-bit fixed (RG)" in text_of(stage))

            with FrameWriter(f"{stream}-in", run_dir=run_dir) as other:  # the ring is still free
                top.write(picture(2))
                await stage.until(lambda: "is already written by another program" in text_of(stage))
                other.publish(picture(3), FrameMeta(24, 16))
            await stage.until(lambda: "24x16 8-bit fixed (RGBA)" in text_of(stage))
            top.close()

    asyncio.run(body())


def test_a_ring_that_another_writes_is_left_without_a_wait(
    stream: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sleep(_: float) -> None:
        raise AssertionError("the output stands still meanwhile")

    with FrameWriter(f"{stream}-in", run_dir=run_dir):
        monkeypatch.setattr(time, "sleep", no_sleep)
        with pytest.raises(AlreadyRunningError, match="already written by another program"):
            open_input(f"{stream}-in", run_dir)


def test_a_picture_that_stands_still_goes_on(
    stream: str, run_dir: Path, tmp_path: Path, objects: FileObjects
) -> None:
    async def body() -> list[int]:
        numbers: list[int] = []
        async with stage_of(stream, tmp_path, run_dir) as stage:
            top = OutTop(objects, "show-in")
            top.write(picture(1))
            with FrameReader(f"{stream}-in", run_dir=run_dir) as reader:

                def has_six() -> bool:
                    while (frame := reader.read_next()) is not None:
                        assert np.array_equal(frame.pixels[::-1], picture(1))
                        numbers.append(frame.meta.flags)
                    return len(numbers) >= 6

                await stage.until(has_six)
            top.close()
        return numbers

    assert asyncio.run(body())[:6] == [0, 2, 2, 2, 2, 2]


def test_two_hosts_of_one_name_are_refused(
    stream: str, run_dir: Path, tmp_path: Path, objects: FileObjects
) -> None:
    async def body() -> None:
        async with stage_of(stream, tmp_path, run_dir), stage_of(f"{stream}2", tmp_path, run_dir):
            pass

    with pytest.raises(ConfigError, match="another host shows its output as Shared Mem Name show"):
        asyncio.run(body())
