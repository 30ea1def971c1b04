from __future__ import annotations

from sdv2_host.commands.play_osc import FLOOD, monitor_lines
from sdv2_host.control.console import Change, Notice
from sdv2_host.control.monitor import MAX_LINES, SHOWN_CHARS, Monitor
from sdv2_host.control.osc_dispatch import Dispatch, Peer
from sdv2_host.ipc.osc_encode import encode_message
from tests.control.fake_stage import fake_console
from tests.control.test_osc_dispatch import Silence

PEER = Peer("udp", "10.0.0.1", 5000)


def test_nothing_is_kept_while_nobody_watches() -> None:
    monitor = Monitor()

    monitor.arrived("osc", "/sdv2/steps", (3,))
    monitor.on_notice(Notice(0, "info", "t", "x"))

    assert (monitor.newest, monitor.lines(0)) == (0, [])


def test_lines_come_in_order_with_who_did_it_and_only_once() -> None:
    monitor = Monitor()
    monitor.lines(0)

    thirty_two_bits = 0.10000000149011612
    monitor.arrived("osc 10.0.0.1:5000", "/sdv2/steps", (3.0, "a b", thirty_two_bits))
    monitor.on_change(Change(1, "page 2", {"steps": 3}, {"preset": "Neon", "tempo": {"bpm": 1}}))
    monitor.on_notice(Notice(0, "warning", "preset", "x.json: not JSON"))

    shown = [line[2:] for line in monitor.lines(0)]
    assert shown == [
        ("osc 10.0.0.1:5000", "/sdv2/steps", "3.0 'a b' 0.1"),
        ("page 2", "/sdv2/steps", "= 3"),
        ("page 2", "/sdv2/status/preset", "= 'Neon'"),
        ("preset", "", "warning: x.json: not JSON"),
    ]
    assert monitor.lines(monitor.newest) == []


def test_a_flood_of_long_messages_is_kept_short_and_what_was_missed_shows_in_the_numbers() -> None:
    monitor = Monitor()
    monitor.lines(0)

    for _ in range(MAX_LINES + 5):
        monitor.arrived("osc", "/a" * 500, ("x" * 60_000, b"y" * 60_000))

    lines = monitor.lines(0)
    assert (len(lines), lines[0].number) == (MAX_LINES, 6)
    assert len(lines[0].address) == len(lines[0].text) == SHOWN_CHARS


def test_an_address_that_would_play_the_terminal_is_quoted() -> None:
    monitor = Monitor()
    monitor.lines(0)

    monitor.arrived("osc", "/sdv2/\x1b[2J", ("\x1b]0;title",))

    line = monitor.lines(0)[0]
    assert (line.address, line.text) == (r"'/sdv2/\x1b[2J'", r"'\x1b]0;title'")


def test_a_fault_that_the_log_tells_once_is_a_line_each_time() -> None:
    console, _, _ = fake_console()
    monitor = Monitor()
    console.listen(monitor)
    dispatch = Dispatch(console, Silence(), monitor)
    monitor.lines(0)

    for _ in range(3):
        dispatch.packet(encode_message("/sdv2/stepz", 1), PEER)
        dispatch.packet(b"no OSC at all", PEER)

    told = [line.text for line in monitor.lines(0) if line.text.startswith("warning")]
    assert len(console.notices) == 2
    assert sum("no such address" in text for text in told) == 3
    assert sum("neither an address nor a bundle" in text for text in told) == 3


def test_of_a_fader_that_moves_the_last_place_is_printed_and_of_anything_else_each_line() -> None:
    monitor = Monitor()
    monitor.lines(0)
    for place in range(FLOOD + 1):
        monitor.arrived("osc", "/sdv2/seed", (place,))
    monitor.arrived("osc", "/sdv2/steps", (2,))
    monitor.arrived("osc", "/sdv2/steps", ("two",))

    lines = [{**line._asdict(), "at_ms": 0.0} for line in monitor.lines(0)]
    told = [text.split(maxsplit=2)[2] for text in monitor_lines(lines, 0)]

    assert told == ["/sdv2/seed 4 (of 5)", "/sdv2/steps 2", "/sdv2/steps 'two'"]
    assert monitor_lines(lines[3:], 0)[0] == "3 lines missed"
