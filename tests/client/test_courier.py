"""The courier beside a host that the test makes, at every moment of that host's life."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.client.courier import Courier
from sdv2_host.client.host_search import MAX_LISTED
from sdv2_host.client.mailbox import Picture, Wish
from sdv2_host.client.status import Complaint, State
from sdv2_host.control.access import write_host_file
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.types import AlphaMode, FrameFlags, Orientation, PixelFormat, Size
from tests.client.fake_host import FakeHost
from tests.client.waiting import levels, next_picture, numbered, until


@pytest.fixture
def courier(run_dir: Path) -> Iterator[Courier]:
    with Courier(Wish("a"), run_dir=run_dir) as courier:
        yield courier


def attached(courier: Courier) -> None:
    until(lambda: courier.status.state is State.LIVE, "live", lambda: courier.status)


def told(courier: Courier, address: str, value: object) -> None:
    """Returns when `changes` gave this value."""
    found: dict[str, object] = {}

    def is_told() -> bool:
        found.update(courier.changes())
        return found.get(address) == value

    until(is_told, f"{address} = {value}", lambda: found)


def test_a_picture_goes_out_as_given_and_comes_back_bottom_row_first(
    courier: Courier, run_dir: Path
) -> None:
    sent = numbered(1)

    with FakeHost("a", run_dir) as host:
        attached(courier)
        frame = next_picture(courier, sent)
        arrived = host.taken[0]

    assert arrived.meta.pixel_format is PixelFormat.RGBA32F
    assert arrived.meta.orientation is Orientation.BOTTOM_FIRST
    assert arrived.meta.alpha is AlphaMode.PREMULTIPLIED
    assert arrived.meta.capture_ts_ns > 0
    np.testing.assert_array_equal(arrived.pixels, sent)
    np.testing.assert_array_equal(frame.pixels, levels(sent))
    assert frame.pixels.flags.c_contiguous
    assert frame.meta.orientation is Orientation.BOTTOM_FIRST
    assert frame.meta.pixel_format is PixelFormat.RGBA8


def test_of_pictures_sent_faster_than_they_are_taken_the_last_one_always_arrives(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        for number in range(100):
            courier.send_frame(Picture(numbered(number)))

        until(lambda: host.taken and np.array_equal(host.taken[-1].pixels, numbered(99)))

    assert len(host.taken) < 100


def test_a_picture_is_taken_once(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        courier.send_frame(Picture(numbered(1)))
        next_picture(courier)
        until(lambda: courier.status.frames_shown == len(host.taken) == 1)

        assert courier.newest() is None


def test_all_values_of_the_host_are_told_and_then_what_changes(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        told(courier, "/sdv2/prompt", "the host's")
        attached(courier)
        for steps in range(2, 5):
            host.tell("/sdv2/steps", steps)

        told(courier, "/sdv2/steps", 4)


def test_values_are_coalesced_and_actions_are_not(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        for number in range(1000):
            courier.set("/sdv2/noise/s_max", number / 1000)
        for number in range(5):
            courier.call("/sdv2/preset/load", f"preset {number}", 2.0)

        until(lambda: host.addresses().count("/sdv2/preset/load") == 5)
        until(lambda: host.values("/sdv2/noise/s_max")[-1:] == [pytest.approx(0.999)])

    assert host.values("/sdv2/preset/load") == [f"preset {number}" for number in range(5)]
    assert len(host.values("/sdv2/noise/s_max")) < 500


def test_values_that_do_not_fit_one_datagram_all_arrive(courier: Courier, run_dir: Path) -> None:
    prompts = {f"/sdv2/prompt/{number}": "\U0001f984" * 2000 for number in range(4)}

    with FakeHost("a", run_dir) as host:
        attached(courier)
        for address, prompt in prompts.items():
            courier.set(address, prompt)

        until(lambda: prompts.keys() <= set(host.addresses()))

    assert all(host.values(address) == [prompt] for address, prompt in prompts.items())


def test_a_text_too_long_for_any_datagram_is_told_and_holds_up_nothing(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        courier.set("/sdv2/prompt", "x" * 10_000)
        courier.set("/sdv2/steps", 3)

        until(lambda: host.values("/sdv2/steps") == [3])
        until(lambda: courier.status.complaints)

    assert courier.status.complaints[0].origin == "/sdv2/prompt"
    assert "allowed are 9000: shorten it" in courier.status.complaints[0].text


def test_an_action_without_a_host_is_lost_and_told(courier: Courier, run_dir: Path) -> None:
    courier.call("/sdv2/panic")
    until(lambda: courier.status.complaints)
    complaint = courier.status.complaints[0]

    with FakeHost("a", run_dir) as host:
        attached(courier)
        courier.call("/sdv2/resume")
        until(lambda: "/sdv2/resume" in host.addresses())

    reason = "was not sent: host 'a' does not answer; try again later"
    assert complaint == Complaint("/sdv2/panic", reason)
    assert "/sdv2/panic" not in host.addresses()


def test_the_values_of_a_running_show_win_over_those_set_before(
    courier: Courier, run_dir: Path
) -> None:
    courier.set("/sdv2/prompt", "mine")

    with FakeHost("a", run_dir) as host:
        told(courier, "/sdv2/prompt", "the host's")
        attached(courier)

    assert "/sdv2/prompt" not in host.addresses()


def test_a_project_brings_its_look_to_every_start_of_a_host_and_nothing_else(
    run_dir: Path,
) -> None:
    wish = Wish("a", brings=frozenset(("/sdv2/prompt",)))

    with Courier(wish, run_dir=run_dir) as courier:
        courier.set("/sdv2/prompt", "mine")
        courier.set("/sdv2/blackout", True)
        with FakeHost("a", run_dir) as first:
            told(courier, "/sdv2/prompt", "mine")
            attached(courier)
            first.tell("/sdv2/prompt", "of another surface")
            told(courier, "/sdv2/prompt", "of another surface")
        with FakeHost("a", run_dir) as second:
            told(courier, "/sdv2/prompt", "of another surface")

    assert "/sdv2/blackout" not in first.addresses()
    assert second.addresses()[:2] == ["/sdv2/prompt", "/sdv2/subscribe"]


def test_without_a_host_the_sentence_says_how_to_start_one(courier: Courier) -> None:
    until(lambda: courier.status.sentence)

    assert courier.status.state is State.NO_HOST
    assert "sdv2-host run --name a" in courier.status.sentence


def test_the_hosts_that_run_are_named(courier: Courier, run_dir: Path) -> None:
    with FakeHost("b", run_dir):
        until(lambda: courier.status.running == ("b",))

        assert courier.status.state is State.NO_HOST
        assert "'b' is" in courier.status.sentence


def test_a_host_is_named_however_many_dead_ones_left_their_files(
    courier: Courier, run_dir: Path
) -> None:
    nobody = 2**22 + 1
    for index in range(MAX_LISTED + 1):
        write_host_file(HostFile(nobody, f"a{index}", "127.0.0.1", 1, "", "0", 0), run_dir)

    with FakeHost("b", run_dir):
        until(lambda: courier.status.running == ("b",))


def test_a_host_without_a_file_yet_is_starting_and_tells_what_it_loads(
    courier: Courier, run_dir: Path
) -> None:
    with FrameWriter("a-out", run_dir=run_dir):
        until(lambda: courier.status.state is State.STARTING)

    with FakeHost("a", run_dir) as host:
        attached(courier)
        host.tell("/sdv2/status/state", "starting")
        host.tell("/sdv2/status/detail", "loading the engine")
        until(lambda: "loading the engine" in courier.status.sentence)

        assert courier.status.state is State.STARTING


def test_a_host_that_comes_back_on_another_port_is_found_and_subscribed_to(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        assert courier.status.port == host.port
        next_picture(courier, numbered(1))

    until(lambda: courier.status.state is State.NO_HOST)
    larger = numbered(2, 64, 48)
    with FakeHost("a", run_dir) as host:
        told(courier, "/sdv2/prompt", "the host's")
        attached(courier)
        until(lambda: next_picture(courier, larger).pixels.shape == larger.shape)

        assert courier.status.port == host.port
        until(lambda: courier.status.output_size == Size(64, 48))


def test_another_name_is_followed_and_the_old_rings_are_let_go(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir), FakeHost("b", run_dir) as b:
        attached(courier)
        next_picture(courier, numbered(1))
        courier.follow(Wish("b"))
        until(lambda: courier.status.host == "b" and courier.status.state is State.LIVE)
        next_picture(courier, numbered(2))

        with FrameWriter("a-in", run_dir=run_dir):
            assert courier.status.port == b.port


def test_of_two_couriers_on_one_host_both_show_and_the_second_says_that_the_first_sends(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir), Courier(Wish("a"), run_dir=run_dir) as second:
        attached(courier)
        attached(second)
        next_picture(courier, numbered(1))
        second.send_frame(Picture(numbered(2)))
        until(lambda: second.status.input_trouble, "refused", lambda: second.status)
        assert "another program already sends to 'a'" in second.status.sentence
        courier.send_frame(Picture(numbered(3)))
        next_picture(second)

        courier.close()
        until(lambda: _goes_out(second), "taken over", lambda: second.status)
        until(lambda: second.status.input_trouble == "", "no trouble")


def _goes_out(courier: Courier) -> bool:
    courier.send_frame(Picture(numbered(4)))
    return courier.status.frames_sent > 0


def test_with_the_input_off_the_ring_is_left_to_others(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        next_picture(courier, numbered(1))
        courier.follow(Wish("a", publishes=False))
        until(lambda: courier.status.frames_sent == 0)
        with FrameWriter("a-in", run_dir=run_dir) as other:
            number = len(host.taken)
            courier.send_frame(Picture(numbered(2)))
            until(lambda: courier.status.frames_sent == 0)

            assert other.frame == 0
            assert len(host.taken) == number


def test_with_the_output_off_no_picture_is_fetched(courier: Courier, run_dir: Path) -> None:
    courier.follow(Wish("a", shows=False))

    with FakeHost("a", run_dir) as host:
        attached(courier)
        courier.send_frame(Picture(numbered(1)))
        until(lambda: host.taken)
        until(lambda: courier.status.heartbeat_age_s is not None)

        assert courier.newest() is None
        assert courier.status.frames_shown == 0


def test_another_release_is_told_and_pictures_flow_on(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir, version="9.4.0"):
        until(lambda: courier.status.state is State.WRONG_VERSION)
        frame = next_picture(courier, numbered(1))

        np.testing.assert_array_equal(frame.pixels, levels(numbered(1)))
        assert courier.status.version == "9.4.0"
        assert "component is older" in courier.status.sentence


def test_a_host_that_does_not_answer_is_told_with_its_port(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir, answers=False) as host:
        until(lambda: courier.status.state is State.UNANSWERED)
        frame = next_picture(courier, numbered(1))

        assert f"port {host.port}" in courier.status.sentence
        np.testing.assert_array_equal(frame.pixels, levels(numbered(1)))


def test_an_address_without_a_way_to_it_is_told_until_the_host_is_gone(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir, listen="fe80::1%999"):
        until(lambda: courier.status.state is State.REFUSED, "refused", lambda: courier.status)
        assert "Start it with --listen 127.0.0.1." in courier.status.sentence
        frame = next_picture(courier, numbered(1))
        np.testing.assert_array_equal(frame.pixels, levels(numbered(1)))

    until(lambda: courier.status.state is State.NO_HOST, "gone", lambda: courier.status)


def test_metrics_spans_and_errors_of_the_host_are_in_the_status(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        host.tell("/sdv2/metrics/fps", 24.5)
        host.tell("/sdv2/metrics/dropped", 7.0)
        host.tell("/sdv2/metrics/span_denoise_ms", 12.5)
        host.tell("/sdv2/error", "/sdv2/steps", "expected 1..4")
        until(lambda: courier.status.complaints)

        status = courier.status
        assert (status.fps, status.dropped) == (24.5, 7)
        assert dict(status.spans_ms) == {"denoise": 12.5}
        assert status.complaints == (Complaint("/sdv2/steps", "expected 1..4"),)
        assert status.delay_frames == 3


def test_a_picture_larger_than_any_ring_is_told_and_smaller_ones_go_out_again(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir):
        attached(courier)
        courier.send_frame(Picture(np.zeros((1, 16385, 4), np.float32)))
        until(lambda: "a side may have 16384 px" in courier.status.sentence)

        frame = next_picture(courier, numbered(1))
        np.testing.assert_array_equal(frame.pixels, levels(numbered(1)))
        until(lambda: courier.status.input_trouble == "")


def test_a_picture_that_is_not_what_it_says_is_told(courier: Courier, run_dir: Path) -> None:
    with FakeHost("a", run_dir):
        attached(courier)
        courier.send_frame(Picture(np.zeros((16, 32, 4), np.float64)))

        until(lambda: "float64" in courier.status.sentence, "told", lambda: courier.status)


def test_a_name_that_no_host_can_have_is_refused_until_another_is_followed(
    courier: Courier, run_dir: Path
) -> None:
    courier.follow(Wish("My Host"))
    courier.send_frame(Picture(numbered(1)))
    until(lambda: courier.status.state is State.REFUSED)
    assert "1 to 44 of a-z" in courier.status.sentence

    courier.follow(Wish("a"))
    with FakeHost("a", run_dir):
        attached(courier)


def test_an_error_of_ours_is_told_with_its_trace_and_the_courier_goes_on(
    courier: Courier, run_dir: Path
) -> None:
    broken = Picture("no picture at all")  # type: ignore[arg-type]

    with FakeHost("a", run_dir):
        attached(courier)
        courier.send_frame(broken)
        until(lambda: courier.status.state is State.FAULT, "told", lambda: courier.status)
        frame = next_picture(courier, numbered(1))

        assert "AttributeError" in courier.status.sentence
        assert "Traceback" in courier.status.faults[0]
        np.testing.assert_array_equal(frame.pixels, levels(numbered(1)))


def test_close_ends_the_thread_and_leaves_nothing(run_dir: Path) -> None:
    before = threading.active_count()

    with FakeHost("a", run_dir):
        courier = Courier(Wish("a"), run_dir=run_dir)
        next_picture(courier, numbered(1))
        courier.close()
        courier.close()

        assert courier.status.state is State.CLOSED
        assert threading.active_count() == before + 1
        assert FrameReader("a-in", run_dir=run_dir).read_newest() is None
        assert not list(run_dir.glob("a-in*"))


def test_what_the_application_calls_never_waits_for_a_thread_that_stands_still(
    courier: Courier, run_dir: Path
) -> None:
    stands, goes_on = threading.Event(), threading.Event()

    class Slow(np.ndarray):  # type: ignore[type-arg]
        @property
        def nbytes(self) -> int:  # type: ignore[override]
            stands.set()
            goes_on.wait()
            return super().nbytes

    with FakeHost("a", run_dir):
        attached(courier)
        courier.send_frame(Picture(numbered(1).view(Slow)))
        assert stands.wait(60)
        for number in range(100):
            courier.send_frame(Picture(numbered(number)))
            courier.set("/sdv2/steps", number)
            courier.call("/sdv2/resume")
            courier.changes()
            courier.newest()
            courier.follow(Wish("a"))
        status = courier.status
        courier.close()
        is_still_standing = not goes_on.is_set()
        goes_on.set()

    assert status.state is State.LIVE
    assert is_still_standing


def test_frames_carry_no_lockstep_flag_while_a_show_is_played(
    courier: Courier, run_dir: Path
) -> None:
    with FakeHost("a", run_dir) as host:
        attached(courier)
        next_picture(courier, numbered(1))

    assert all(FrameFlags.LOCKSTEP not in frame.meta.flags for frame in host.taken)


def test_it_may_be_closed_by_its_own_thread_as_a_garbage_collector_does(run_dir: Path) -> None:
    courier = Courier(Wish("a"), run_dir=run_dir)
    failed: list[BaseException | None] = []

    def close() -> None:
        try:
            courier.close()
        except RuntimeError as error:
            failed.append(error)
        else:
            failed.append(None)

    with FakeHost("a", run_dir):
        until(lambda: courier.status.facts)
        weakref.finalize(send_and_forget(courier), close)
        until(lambda: failed)

    assert failed == [None]
    until(lambda: not any(one.name == "courier a" for one in threading.enumerate()))


def send_and_forget(courier: Courier) -> NDArray[np.float32]:
    """A picture that only the courier holds, once the caller has let go of it."""
    pixels = numbered(1)
    courier.send_frame(Picture(pixels))
    return pixels
