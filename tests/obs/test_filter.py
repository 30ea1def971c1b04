"""What the OBS filter sends to a host's input ring."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.ipc.frame_ring import FrameWriter, RingStatus
from sdv2_host.types import AlphaMode, Frame, FrameFlags
from tests.hosts import SHM, unique_name
from tests.obs.numbered import number_of, numbered
from tests.obs.obs_process import ObsSocket, Stage, needs_obs
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

PICTURE = numbered(0xC35A1F, 640, 480)
ORANGE = 0xFF4080C0  # ABGR
ORANGE_RGBA = (192, 128, 64, 255)


def add_colour(stage: Stage, colour: int = ORANGE, size: tuple[int, int] = (320, 240)) -> str:
    return stage.add("color_source_v3", "colour", color=colour, width=size[0], height=size[1])


def num_frames(host: ToyHost, seconds: float) -> int:
    """How many frames come to the host in this time."""
    first = host.next_input()
    if first is None:
        return 0
    time.sleep(seconds)
    last = host.next_input()
    return last.meta.frame - first.meta.frame if last is not None else 0


def frame_like(host: ToyHost, wanted: NDArray[np.generic], near: int) -> Frame | None:
    """The first input frame whose levels are as near as that; None = none in 3 s."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        frame = host.next_input(1)
        if frame is None or frame.pixels.shape != wanted.shape:
            continue
        if np.abs(frame.pixels.astype(int) - wanted.astype(int)).max() <= near:
            return frame
    return None


@pytest.mark.parametrize("reading", ["low_delay", "low_load"])
def test_every_pixel_is_sent_as_it_is_shown(stage: Stage, reading: str) -> None:
    with ToyHost(unique_name()) as shown, ToyHost(unique_name()) as host:
        shown.show(PICTURE)
        source = stage.add_source(shown.name)
        stage.add_filter(source, host.name, reading=reading)

        frame = frame_like(host, PICTURE, 0)

        assert frame is not None
        assert frame.meta.alpha is AlphaMode.OPAQUE
        assert stage.picture(source, PICTURE) == 0  # and the filter changes nothing on screen
        assert stage.picture(stage.scene, PICTURE) == 0


def test_a_colour_arrives_exactly(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        stage.add_filter(add_colour(stage), host.name)

        frame = host.next_input()

        assert frame is not None
        assert frame.pixels.shape == (240, 320, 4)
        assert (frame.pixels == ORANGE_RGBA).all()


def test_one_frame_is_sent_for_each_of_obs_however_many_views_there_are(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None
        begin = time.monotonic()
        first = host.next_input()
        assert first is not None

        while time.monotonic() - begin < 2:  # every screenshot is one more view
            stage.obs.screenshot(source)
            stage.obs.screenshot(stage.scene)

        last = host.next_input()
        assert last is not None
        seconds = time.monotonic() - begin
        assert last.meta.frame - first.meta.frame <= seconds * 30 + 3


def test_frame_times_rise_and_the_first_frame_begins_a_session(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        stage.add_filter(add_colour(stage), host.name)
        frames = []
        while len(frames) < 10:
            frame = host.input.read_next()
            if frame is not None:
                frames.append(frame.meta)
            time.sleep(0.001)

        assert [meta.frame for meta in frames] == list(range(1, 11))
        assert frames[0].flags == FrameFlags.DISCONTINUITY
        assert {meta.flags for meta in frames[1:]} == {FrameFlags.NONE}
        times = [meta.capture_ts_ns for meta in frames]
        assert times == sorted(set(times))
        assert all(meta.capture_ts_ns <= meta.publish_ts_ns for meta in frames)


def test_a_source_off_air_is_sent_only_if_the_user_wants_that(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None
        stage.leave_air()
        assert num_frames(host, 1) >= 10

        stage.set_filter(source, sending="shown")
        time.sleep(0.3)
        host.input.read_newest()
        assert host.next_input(1) is None

        stage.go_on_air()
        assert host.next_input() is not None


def test_a_hidden_source_is_sent_only_if_the_user_wants_that(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None
        stage.show_item(source, False)
        assert num_frames(host, 1) >= 10

        stage.set_filter(source, sending="shown")
        time.sleep(0.3)
        host.input.read_newest()

        assert host.next_input(1) is None


def test_a_filter_that_is_switched_off_sends_nothing_and_frees_the_ring(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None

        switch(stage, source, False)
        time.sleep(0.3)
        host.input.read_newest()

        assert host.next_input(1) is None
        deadline = time.monotonic() + 4
        while host.input.status is not RingStatus.CLOSED and time.monotonic() < deadline:
            time.sleep(0.05)
        with FrameWriter(f"{host.name}-in"):
            pass  # another program may write now
        switch(stage, source, True)
        begins_anew = host.oldest_input()
        assert begins_anew is not None
        assert FrameFlags.DISCONTINUITY in begins_anew.meta.flags


def switch(stage: Stage, source: str, enabled: bool) -> None:
    stage.obs.call(
        "SetSourceFilterEnabled", sourceName=source, filterName="to host", filterEnabled=enabled
    )


def test_a_scene_is_sent_in_the_size_of_the_canvas(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        add_colour(stage)
        stage.add_filter(stage.scene, host.name)

        frame = host.next_input()

        assert frame is not None
        assert frame.pixels.shape == (480, 640, 4)
        assert (frame.pixels[:240, :320] == ORANGE_RGBA).all()
        assert (frame.pixels[240:, :, :3] == 0).all()
        stage.leave_air()
        assert num_frames(host, 1) >= 10


def test_the_ring_grows_with_the_source(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None
        for width, height in ((512, 512), (832, 480), (200, 100)):
            stage.set(source, width=width, height=height)

            wanted = np.broadcast_to(np.array(ORANGE_RGBA, np.uint8), (height, width, 4))

            assert frame_like(host, wanted, 0) is not None


def test_frames_per_second_can_be_limited(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage)
        stage.add_filter(source, host.name, fps_limit=10)
        assert host.next_input() is not None

        assert 16 <= num_frames(host, 2) <= 23
        stage.set_filter(source, fps_limit=30)  # as fast as OBS: nothing is lost to jitter
        time.sleep(0.2)
        assert num_frames(host, 2) >= 50


@pytest.mark.parametrize(
    ("setting", "mode"),
    [("straight", AlphaMode.STRAIGHT), ("premultiplied", AlphaMode.PREMULTIPLIED)],
)
def test_alpha_goes_out_as_it_came_in(stage: Stage, setting: str, mode: AlphaMode) -> None:
    straight = PICTURE.copy()
    straight[:, 320:, 3] = 128
    premultiplied = straight.copy()
    premultiplied[:, 320:, :3] = np.rint(straight[:, 320:, :3] * (128 / 255)).astype(np.uint8)
    with ToyHost(unique_name()) as shown, ToyHost(unique_name()) as host:
        shown.show(straight, alpha=AlphaMode.STRAIGHT)
        source = stage.add_source(shown.name)
        stage.add_filter(source, host.name, alpha=setting)

        # OBS keeps levels times alpha in 8 bits; dividing again makes up to 2 of a rounding.
        frame = frame_like(host, straight if setting == "straight" else premultiplied, 2)

        assert frame is not None
        assert frame.meta.alpha is mode


def test_alpha_that_is_ignored_is_a_picture_on_black(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = add_colour(stage, 0x00FFFFFF)
        stage.add_filter(source, host.name)

        frame = host.next_input()

        assert frame is not None
        assert (frame.pixels[..., :3] == 0).all()


def test_a_ring_that_another_program_writes_is_left_alone(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        with FrameWriter(f"{host.name}-in"):
            source = add_colour(stage)
            stage.add_filter(source, host.name)
            time.sleep(2.5)
            said = [line for line in stage.obs.log().splitlines() if "already" in line]
            mine = [line for line in said if host.name in line]
            assert len(mine) == 1
            assert stage.picture(source, np.full((240, 320, 4), ORANGE_RGBA)) == 0

        assert host.next_input() is not None  # its turn when that program ends


def test_of_two_filters_for_one_host_the_first_one_sends(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        first = add_colour(stage)
        stage.add_filter(first, host.name)
        assert host.next_input() is not None
        second = stage.add("color_source_v3", "second", color=0xFFFFFFFF, width=64, height=64)
        stage.add_filter(second, host.name)
        time.sleep(1)
        frame = host.next_input()
        assert frame is not None
        assert frame.pixels.shape == (240, 320, 4)

        switch(stage, first, False)

        assert frame_like(host, np.full((64, 64, 4), 255, np.uint8), 0) is not None


def test_the_filter_goes_over_to_another_host(stage: Stage) -> None:
    with ToyHost(unique_name()) as one, ToyHost(unique_name()) as other:
        source = add_colour(stage)
        stage.add_filter(source, one.name)
        assert one.next_input() is not None

        stage.set_filter(source, host=other.name)

        assert other.next_input() is not None
        time.sleep(0.2)
        assert one.input.status in (RingStatus.CLOSED, RingStatus.ABSENT)


def test_frames_arrive_in_order_and_few_are_lost(stage: Stage) -> None:
    with ToyHost(unique_name()) as shown, ToyHost(unique_name()) as host:
        source = stage.add_source(shown.name)
        stage.add_filter(source, host.name)
        shown.play(640, 480, 15)
        assert host.next_input() is not None
        numbers = []
        begin = time.monotonic()
        while time.monotonic() - begin < 3:
            frame = host.next_input(1)
            assert frame is not None
            numbers.append(number_of(frame.pixels))

        assert numbers == sorted(numbers)
        assert len(set(numbers)) >= 25


def test_rings_may_be_files_for_an_obs_in_a_sandbox(stage: Stage) -> None:
    run_dir = stage.obs.home / ".sdv2-host" / "run"
    before = set(SHM.iterdir())
    with ToyHost(unique_name(), files_in=run_dir) as host:
        host.show(PICTURE)
        source = stage.add_source(host.name)
        stage.add_filter(source, host.name)

        assert frame_like(host, PICTURE, 0) is not None

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
        source = add_colour(stage, size=(2400, 2000))  # long copies: the more can happen meanwhile
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
