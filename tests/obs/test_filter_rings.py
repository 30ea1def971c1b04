"""The ring that the OBS filter writes: made, grown, shared by turns, given up."""

from __future__ import annotations

import json
import threading
import time

import numpy as np

from sdv2_host.ipc.frame_ring import FrameWriter, RingStatus
from sdv2_host.types import FrameFlags
from tests.hosts import SHM, unique_name
from tests.obs.numbered import numbered
from tests.obs.obs_process import ObsSocket, needs_obs
from tests.obs.stage import Stage
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

PICTURE = numbered(0xC35A1F, 640, 480)
ORANGE = 0xFF4080C0  # ABGR
ORANGE_RGBA = (192, 128, 64, 255)


def test_a_filter_that_is_switched_off_sends_nothing_and_frees_the_ring(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_colour(ORANGE)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None

        stage.switch_filter(source, False)
        time.sleep(0.3)
        host.input.read_newest()

        assert host.next_input(1) is None
        deadline = time.monotonic() + 4
        while host.input.status is not RingStatus.CLOSED and time.monotonic() < deadline:
            time.sleep(0.05)
        with FrameWriter(f"{host.name}-in"):
            pass  # another program may write now
        stage.switch_filter(source, True)
        begins_anew = host.oldest_input()
        assert begins_anew is not None
        assert FrameFlags.DISCONTINUITY in begins_anew.meta.flags


def test_the_ring_grows_with_the_source(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_colour(ORANGE)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None
        for width, height in ((512, 512), (832, 480), (200, 100)):
            stage.set(source, width=width, height=height)

            wanted = np.broadcast_to(np.array(ORANGE_RGBA, np.uint8), (height, width, 4))

            assert host.frame_like(wanted, 0) is not None


def test_a_ring_that_another_program_writes_is_left_alone(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        with FrameWriter(f"{host.name}-in"):
            source = stage.add_colour(ORANGE)
            stage.add_filter(source, host.name)
            time.sleep(2.5)
            said = [line for line in stage.obs.log().splitlines() if "already" in line]
            mine = [line for line in said if host.name in line]
            assert len(mine) == 1
            assert stage.picture(source, np.full((240, 320, 4), ORANGE_RGBA)) == 0

        assert host.next_input() is not None  # its turn when that program ends


def test_of_two_filters_for_one_host_the_first_one_sends(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        first = stage.add_colour(ORANGE)
        stage.add_filter(first, host.name)
        assert host.next_input() is not None
        second = stage.add("color_source_v3", "second", color=0xFFFFFFFF, width=64, height=64)
        stage.add_filter(second, host.name)
        time.sleep(1)
        frame = host.next_input()
        assert frame is not None
        assert frame.pixels.shape == (240, 320, 4)

        stage.switch_filter(first, False)

        assert host.frame_like(np.full((64, 64, 4), 255, np.uint8), 0) is not None


def test_the_filter_goes_over_to_another_host(stage: Stage) -> None:
    with ToyHost(unique_name()) as one, ToyHost(unique_name()) as other:
        source = stage.add_colour(ORANGE)
        stage.add_filter(source, one.name)
        assert one.next_input() is not None

        stage.set_filter(source, host=other.name)

        assert other.next_input() is not None
        time.sleep(0.2)
        assert one.input.status in (RingStatus.CLOSED, RingStatus.ABSENT)


def test_rings_may_be_files_for_an_obs_in_a_sandbox(stage: Stage) -> None:
    run_dir = stage.obs.home / ".sdv2-host" / "run"
    before = set(SHM.iterdir())
    with ToyHost(unique_name(), files_in=run_dir) as host:
        host.show(PICTURE)
        source = stage.add_source(host.name)
        stage.add_filter(source, host.name)

        assert host.frame_like(PICTURE, 0) is not None

        said = json.loads((run_dir / f"{host.name}-in.json").read_text())
        assert said["backing"] == "file"
        assert (run_dir / said["segment"]).stat().st_mode & 0o777 == 0o600
        assert SHM / said["segment"] not in set(SHM.iterdir()) - before
    deadline = time.monotonic() + 5
    while list(run_dir.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(run_dir.iterdir()) == []
    run_dir.rmdir()


def test_screenshots_on_other_threads_survive_rings_that_come_and_go(stage: Stage) -> None:
    with ToyHost(unique_name()) as one, ToyHost(unique_name()) as other:
        source = stage.add_colour(
            ORANGE, (2400, 2000)
        )  # long copies: the more can happen meanwhile
        stage.add_filter(source, one.name)
        assert one.next_input() is not None
        stop = threading.Event()
        photographers = [
            threading.Thread(target=take_screenshots, args=(stage.obs.connect(), source, stop))
            for _ in range(3)
        ]
        for photographer in photographers:
            photographer.start()

        for turn in range(20):
            stage.set_filter(source, host=(other, one)[turn % 2].name)
            stage.set(source, width=2400 + 8 * turn)
            time.sleep(0.2)

        stop.set()
        for photographer in photographers:
            photographer.join()
        assert stage.obs.process.poll() is None
        assert one.next_input() is not None


def take_screenshots(client: ObsSocket, source: str, stop: threading.Event) -> None:
    while not stop.is_set():
        client.call("GetSourceScreenshot", sourceName=source, imageFormat="jpg")
    client.close()
