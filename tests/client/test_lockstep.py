"""Frame in, exactly that frame out: for renders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.client.courier import Courier, LockstepError
from sdv2_host.client.mailbox import Picture, Wish
from sdv2_host.client.status import State
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.types import Frame, FrameFlags
from tests.client.fake_host import FakeHost
from tests.client.waiting import DEADLINE_S, levels, next_picture, numbered, until


@pytest.fixture
def courier(run_dir: Path) -> Iterator[Courier]:
    with Courier(Wish("a"), run_dir=run_dir) as courier:
        yield courier


def render(courier: Courier, numbers: range, timeout_s: float = DEADLINE_S) -> list[Frame | None]:
    return [courier.exchange(Picture(numbered(number)), timeout_s) for number in numbers]


def assert_pictures(shown: list[Frame | None], numbers: range, delay: int) -> None:
    assert shown[:delay] == [None] * delay
    for frame, number in zip(shown[delay:], numbers, strict=False):
        assert frame is not None
        np.testing.assert_array_equal(frame.pixels, levels(numbered(number)))


def attached(courier: Courier) -> None:
    until(lambda: courier.status.delay_frames, "attached", lambda: courier.status)


def test_every_picture_comes_once_in_order_by_the_delay_later(
    courier: Courier, run_dir: Path
) -> None:
    numbers = range(40)

    with FakeHost("a", run_dir) as host:
        shown = render(courier, numbers)

    assert_pictures(shown, numbers, 3)
    assert len(host.taken) == 40
    assert all(FrameFlags.LOCKSTEP in frame.meta.flags for frame in host.taken)
    cuts = [FrameFlags.DISCONTINUITY in frame.meta.flags for frame in host.taken]
    assert cuts == [True] + [False] * 39


def test_a_render_waits_for_its_host(courier: Courier, run_dir: Path) -> None:
    hosts: list[FakeHost] = []
    late = threading.Timer(0.3, lambda: hosts.append(FakeHost("a", run_dir)))
    late.start()

    shown = render(courier, range(6))

    late.join()
    hosts[0].close()
    assert_pictures(shown, range(6), 3)


def test_without_a_host_the_error_says_how_to_start_one(courier: Courier) -> None:
    until(lambda: courier.status.sentence)

    with pytest.raises(LockstepError, match="waits for its host: No host named 'a'"):
        courier.exchange(Picture(numbered(1)), 0.05)


def test_a_render_begins_anew_after_an_error(courier: Courier, run_dir: Path) -> None:
    until(lambda: courier.status.sentence)
    with pytest.raises(LockstepError):
        courier.exchange(Picture(numbered(1)), 0.05)

    with FakeHost("a", run_dir) as host:
        shown = render(courier, range(10, 20))

    assert_pictures(shown, range(10, 20), 3)
    assert len(host.taken) == 10


def test_a_picture_that_does_not_come_is_named(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        host.is_mute = True
        render(courier, range(3))

        with pytest.raises(LockstepError, match="Frame 1 of the render: no picture came in time"):
            courier.exchange(Picture(numbered(3)), 0.1)


def test_a_picture_that_a_later_one_overtook_is_named(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        host.delay = 1  # pictures come two frames before they are due
        host.skips = {2}
        render(courier, range(4))

        with pytest.raises(LockstepError, match="Frame 2 of the render: a later picture came"):
            courier.exchange(Picture(numbered(4)), DEADLINE_S)


def test_a_host_that_dies_in_a_render_is_told_at_once(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        render(courier, range(5))
        host.is_mute = True
        dies = threading.Timer(0.2, host.close)
        dies.start()

        with pytest.raises(LockstepError, match="Frame 3 of the render: the host went away"):
            courier.exchange(Picture(numbered(5)), DEADLINE_S)
        dies.join()

    with FakeHost("a", run_dir):
        assert_pictures(render(courier, range(8)), range(8), 3)


def test_a_delay_that_changes_in_a_render_is_told(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        render(courier, range(5))
        host.tell("/sdv2/status/delay_frames", 7)
        until(lambda: courier.status.delay_frames == 7)

        with pytest.raises(LockstepError, match="3 frames late and now come 7"):
            courier.exchange(Picture(numbered(5)), DEADLINE_S)


def test_a_render_with_the_input_off_says_so(courier: Courier, run_dir: Path) -> None:
    courier.follow(Wish("a", publishes=False))

    with FakeHost("a", run_dir):
        attached(courier)
        with pytest.raises(LockstepError, match="input is turned off here; turn it on"):
            courier.exchange(Picture(numbered(1)), 0.05)


def test_the_ring_has_room_for_what_is_under_way(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir, delay=7):
        attached(courier)
        next_picture(courier, numbered(1))
        assert_pictures(render(courier, range(12)), range(12), 7)

        ring = FrameReader("a-in", run_dir=run_dir)
        kept = 0
        while ring.read_next() is not None:
            kept += 1
        assert kept == 9


def test_a_show_ends_the_render_and_another_one_begins_anew(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        render(courier, range(5))
        until(lambda: courier.status.state is State.LOCKSTEP)
        courier.send_frame(Picture(numbered(77)))
        until(lambda: np.array_equal(host.taken[-1].pixels, numbered(77)))
        until(lambda: courier.status.state is State.LIVE)
        shown = render(courier, range(20, 30))

    assert_pictures(shown, range(20, 30), 3)


def test_a_picture_of_before_a_render_is_not_handed_out_after_it(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir):
        attached(courier)
        courier.send_frame(Picture(numbered(1)))
        until(lambda: courier.status.frames_shown == 1)
        render(courier, range(5))

        assert courier.newest() is None


def test_repeats_while_the_application_renders_push_no_picture_out(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        host.delay = 0  # all are there long before they are due
        shown = render(courier, range(5))
        until(lambda: courier.status.frames_shown == 5)
        for _ in range(30):
            host.repeat()
        shown += render(courier, range(5, 10))

    assert_pictures(shown, range(10), 3)


def test_a_picture_of_another_source_with_the_same_number_is_not_taken(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        host.is_mute = True
        render(courier, range(3))
        until(lambda: len(host.taken) == 3)
        stale = host.taken[0]
        wrong = Frame(replace(stale.meta, capture_ts_ns=5), numbered(99))
        host.show(wrong, wrong)
        host.show(stale, stale)
        frame = courier.exchange(Picture(numbered(3)), DEADLINE_S)

    assert frame is not None
    np.testing.assert_array_equal(frame.pixels, levels(numbered(0)))


def test_closing_ends_a_wait(courier: Courier, run_dir: Path) -> None:
    closes = threading.Timer(0.2, courier.close)
    closes.start()

    with pytest.raises(LockstepError, match="closed"):
        courier.exchange(Picture(numbered(1)), DEADLINE_S)
    closes.join()
