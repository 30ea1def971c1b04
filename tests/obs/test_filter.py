"""What the OBS filter sends to a host's input ring."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sdv2_host.types import AlphaMode, FrameFlags
from tests.hosts import unique_name
from tests.obs.numbered import number_of, numbered
from tests.obs.obs_process import needs_obs
from tests.obs.stage import Stage
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

PICTURE = numbered(0xC35A1F, 640, 480)
ORANGE = 0xFF4080C0  # ABGR
ORANGE_RGBA = (192, 128, 64, 255)


def num_frames(host: ToyHost, seconds: float) -> int:
    """How many frames come to the host in this time."""
    first = host.next_input()
    if first is None:
        return 0
    time.sleep(seconds)
    last = host.next_input()
    return last.meta.frame - first.meta.frame if last is not None else 0


@pytest.mark.parametrize("reading", ["low_delay", "low_load"])
def test_every_pixel_is_sent_as_it_is_shown(stage: Stage, reading: str) -> None:
    with ToyHost(unique_name()) as shown, ToyHost(unique_name()) as host:
        shown.show(PICTURE)
        source = stage.add_source(shown.name)
        stage.add_filter(source, host.name, reading=reading)

        frame = host.frame_like(PICTURE, 0)

        assert frame is not None
        assert frame.meta.alpha is AlphaMode.OPAQUE
        assert stage.picture(source, PICTURE) == 0  # and the filter changes nothing on screen
        assert stage.picture(stage.scene, PICTURE) == 0


def test_a_colour_arrives_exactly(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        stage.add_filter(stage.add_colour(ORANGE), host.name)

        frame = host.next_input()

        assert frame is not None
        assert frame.pixels.shape == (240, 320, 4)
        assert (frame.pixels == ORANGE_RGBA).all()


def test_one_frame_is_sent_for_each_of_obs_however_many_views_there_are(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_colour(ORANGE)
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
        stage.add_filter(stage.add_colour(ORANGE), host.name)
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
        source = stage.add_colour(ORANGE)
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
        source = stage.add_colour(ORANGE)
        stage.add_filter(source, host.name)
        assert host.next_input() is not None
        stage.show_item(source, False)
        assert num_frames(host, 1) >= 10

        stage.set_filter(source, sending="shown")
        time.sleep(0.3)
        host.input.read_newest()

        assert host.next_input(1) is None


def test_a_scene_is_sent_in_the_size_of_the_canvas(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        stage.add_colour(ORANGE)
        stage.add_filter(stage.scene, host.name)

        frame = host.next_input()

        assert frame is not None
        assert frame.pixels.shape == (480, 640, 4)
        assert (frame.pixels[:240, :320] == ORANGE_RGBA).all()
        assert (frame.pixels[240:, :, :3] == 0).all()
        stage.leave_air()
        assert num_frames(host, 1) >= 10


def test_frames_per_second_can_be_limited(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_colour(ORANGE)
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
        frame = host.frame_like(straight if setting == "straight" else premultiplied, 2)

        assert frame is not None
        assert frame.meta.alpha is mode


def test_alpha_that_is_ignored_is_a_picture_on_black(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        source = stage.add_colour(0x00FFFFFF)
        stage.add_filter(source, host.name)

        frame = host.next_input()

        assert frame is not None
        assert (frame.pixels[..., :3] == 0).all()


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
