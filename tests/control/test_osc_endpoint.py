from __future__ import annotations

import asyncio
import logging
import socket
import struct

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder

from sdv2_host.config import Config
from sdv2_host.control.osc_endpoint import MAX_REMEMBERED, Interpreter, listen_osc
from sdv2_host.errors import ConfigError
from sdv2_host.params import Params, ParamValue, Patch, apply

ORIGIN = "127.0.0.1"


def osc(address: str, *args: tuple[str, object]) -> bytes:
    builder = OscMessageBuilder(address)
    for tag, value in args:
        builder.add_arg(value, tag)  # type: ignore[arg-type]
    return builder.build().dgram


def osc_bundle(*messages: bytes) -> bytes:
    sizes = [len(one).to_bytes(4, "big") + one for one in messages]
    return b"#bundle\0" + (1).to_bytes(8, "big") + b"".join(sizes)


ACCEPTED: dict[str, tuple[bytes, dict[str, ParamValue]]] = {
    "prompt": (osc("/sdv2/prompt", ("s", "neon rain")), {"prompt": "neon rain"}),
    "prompt word by word": (
        osc("/sdv2/prompt", ("s", "neon"), ("i", 1984), ("f", 0.5), ("s", "rain")),
        {"prompt": "neon 1984 0.5 rain"},
    ),
    "int": (osc("/sdv2/steps", ("i", 3)), {"steps": 3}),
    "int as a CHOP sends it": (osc("/sdv2/steps", ("f", 3.0)), {"steps": 3}),
    "int between two": (osc("/sdv2/steps", ("f", 2.6)), {"steps": 3}),
    "int as text": (osc("/sdv2/seed", ("s", "17")), {"seed": 17}),
    "int of 64 bits": (osc("/sdv2/seed", ("h", 5)), {"seed": 5}),
    "float": (osc("/sdv2/noise/s_min", ("f", 0.25)), {"noise_s_min": 0.25}),
    "float as int": (osc("/sdv2/noise/s_max", ("i", 1)), {"noise_s_max": 1.0}),
    "double": (osc("/sdv2/noise/s_max", ("d", 0.3)), {"noise_s_max": 0.3}),
    "true": (osc("/sdv2/freeze", ("T", True)), {"freeze": True}),
    "false": (osc("/sdv2/freeze", ("F", False)), {"freeze": False}),
    "button": (osc("/sdv2/freeze", ("f", 1.0)), {"freeze": True}),
    "int of SuperCollider": (osc("/sdv2/freeze", ("i", 0)), {"freeze": False}),
    "bundle": (
        osc_bundle(osc("/sdv2/steps", ("i", 1)), osc("/sdv2/seed", ("i", 9))),
        {"steps": 1, "seed": 9},
    ),
    "last one of a bundle": (
        osc_bundle(osc("/sdv2/seed", ("i", 8)), osc("/sdv2/seed", ("i", 9))),
        {"seed": 9},
    ),
}


@pytest.mark.parametrize(("datagram", "patch"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_common_senders_send_is_understood(
    datagram: bytes, patch: dict[str, ParamValue]
) -> None:
    interpreter = Interpreter()

    assert interpreter.patch_of(datagram, ORIGIN) == patch
    assert interpreter.counts.applied >= 1
    assert interpreter.told == set()


REJECTED = {
    "nothing": osc("/sdv2/steps"),
    "words for a number": osc("/sdv2/steps", ("s", "many")),
    "NaN": osc("/sdv2/noise/s_min", ("f", float("nan"))),
    "infinity": osc("/sdv2/noise/s_min", ("f", float("inf"))),
    "NaN as text": osc("/sdv2/steps", ("s", "nan")),
    "blob": osc("/sdv2/seed", ("b", b"\1\2\3\4")),
    "two values": osc("/sdv2/noise/s_min", ("f", 0.1), ("f", 0.2)),
    "true for a number": osc("/sdv2/steps", ("T", True)),
    "nil for a prompt": osc("/sdv2/prompt", ("N", None)),
    "no prompt": osc("/sdv2/prompt"),
    "bang for freeze": b"/sdv2/freeze\0\0\0\0,I\0\0",
}


@pytest.mark.parametrize("datagram", REJECTED.values(), ids=REJECTED.keys())
def test_what_makes_no_sense_changes_nothing_and_is_told_once(
    datagram: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    interpreter = Interpreter()

    patches = [interpreter.patch_of(datagram, ORIGIN) for _ in range(5)]

    assert patches == [{}] * 5
    assert interpreter.counts.rejected == 5
    assert len(caplog.records) == 1
    assert "/sdv2/" in caplog.text
    assert "expected" in caplog.text


def test_a_fader_that_overshoots_is_clamped_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interpreter = Interpreter()

    patches = [interpreter.patch_of(osc("/sdv2/steps", ("f", 9.0)), ORIGIN) for _ in range(3)]

    assert patches == [{"steps": 4}] * 3
    assert interpreter.counts.clamped == 3
    assert [record.message for record in caplog.records] == [
        "OSC /sdv2/steps = 9.0, expected 1..4: 4 is used (said once, counted from now on)"
    ]


def test_an_unknown_address_is_named_with_the_known_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interpreter = Interpreter()

    interpreter.patch_of(osc("/sdv2/promt", ("s", "x")), ORIGIN)

    assert interpreter.counts.unknown == 1
    assert "'/sdv2/promt'" in caplog.text
    assert "/sdv2/prompt" in caplog.text


def test_a_value_in_the_address_gets_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    Interpreter().patch_of(b"/sdv2/steps 3\0\0\0,\0\0\0", ORIGIN)

    assert "the value belongs into an argument" in caplog.text


@pytest.mark.parametrize("address", ["/*", "/*a*a*a*a*a*a*a*a*a*ab", "/sdv2/{a,b}", "/[!x]?"])
def test_patterns_are_harmless(address: str) -> None:
    interpreter = Interpreter()

    assert interpreter.patch_of(osc(address, ("f", 1.0)), ORIGIN) == {}
    assert interpreter.counts.unknown == 1


def test_a_flood_of_different_addresses_cannot_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interpreter = Interpreter()

    for number in range(3 * MAX_REMEMBERED):
        interpreter.patch_of(osc(f"/x{number}"), ORIGIN)

    assert interpreter.counts.unknown == 3 * MAX_REMEMBERED
    assert len(caplog.records) == MAX_REMEMBERED + 1


def test_a_peer_cannot_forge_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    Interpreter().patch_of(osc("/x\nERROR all is lost", ("s", "x")), ORIGIN)

    assert len(caplog.text.splitlines()) == 1


def test_a_bad_message_does_not_spoil_its_bundle() -> None:
    interpreter = Interpreter()
    unknown_tag = b"/a\0\0,A\0\0" + struct.pack(">f", 1.0)

    patch = interpreter.patch_of(osc_bundle(unknown_tag, osc("/sdv2/seed", ("i", 9))), ORIGIN)

    assert patch == {"seed": 9}
    assert interpreter.counts.rejected == 1


def test_a_bundle_with_a_time_far_ahead_applies_at_once() -> None:
    now = osc_bundle(osc("/sdv2/seed", ("i", 3)))
    later = now[:8] + b"\xff" * 8 + now[16:]

    assert Interpreter().patch_of(later, ORIGIN) == {"seed": 3}


class Target:
    """Applies patches like the daemon does."""

    def __init__(self) -> None:
        self.params = Params()

    def apply(self, patch: Patch, origin: str) -> Params:
        self.params = apply(self.params, patch)
        return self.params


async def send_and_wait(datagrams: list[bytes], target: Target, seed: int) -> int:
    """Datagrams that arrived at a listener until the seed was seen."""
    listener = await listen_osc(Config(port=0), target.apply)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, ("127.0.0.1", listener.port))
    async with asyncio.timeout(10):
        while target.params.seed != seed:
            await asyncio.sleep(0.01)
    listener.transport.close()
    return listener.endpoint.counts.datagrams


def test_a_burst_arrives_complete_and_the_last_value_wins() -> None:
    target = Target()
    datagrams = [osc("/sdv2/seed", ("i", number)) for number in range(2001)]

    num_datagrams = asyncio.run(send_and_wait(datagrams, target, seed=2000))

    assert num_datagrams == 2001


def test_junk_between_messages_does_not_stop_the_listener() -> None:
    target = Target()
    junk = [b"", b"\xff" * 60_000, b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xfc", b"/a\0\0,A\0\0"]

    asyncio.run(send_and_wait([*junk, osc("/sdv2/seed", ("i", 7))], target, seed=7))

    assert target.params.seed == 7


def test_a_port_in_use_is_refused_with_its_owner_and_the_flag() -> None:
    async def listen(port: int) -> None:
        await listen_osc(Config(port=port), Target().apply)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}.*uses it.*--port {port + 1}"):
            asyncio.run(listen(port))


def test_an_address_that_does_not_exist_is_refused() -> None:
    async def listen() -> None:
        await listen_osc(Config(port=0, listen="no.such.host.invalid"), Target().apply)

    with pytest.raises(ConfigError, match=r"--listen no\.such\.host\.invalid"):
        asyncio.run(listen())


def test_unchanged_defaults_are_loopback() -> None:
    assert Config().listen == "127.0.0.1"
    assert logging.getLogger("sdv2_host").handlers == []
