"""The decoder against hostile bytes, and against python-osc's builder as an independent oracle."""

from __future__ import annotations

import math
import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.osc import (
    MAX_ARGS,
    MAX_MESSAGES,
    MAX_PACKET_BYTES,
    Color,
    Impulse,
    OscMessage,
    TimeTag,
    decode,
)

BUNDLE_HEAD = b"#bundle\0" + (1).to_bytes(8, "big")


def text(value: str | bytes) -> bytes:
    """An OSC string."""
    raw = value.encode() if isinstance(value, str) else value
    return raw + b"\0" * (4 - len(raw) % 4)


def message(address: str, tags: str = ",", data: bytes = b"") -> bytes:
    return text(address) + text(tags) + data


def bundle(*elements: bytes) -> bytes:
    return BUNDLE_HEAD + b"".join(len(one).to_bytes(4, "big") + one for one in elements)


def nested(depth: int) -> bytes:
    packet = message("/a")
    for _ in range(depth):
        packet = bundle(packet)
    return packet


FLOAT = struct.pack(">f", 0.5)

HOSTILE = {
    "empty": b"",
    "one byte": b"/",
    "no address": b"hello\0\0\0",
    "address without end": b"/abc",
    "address without padding": b"/abcd\0",
    "no comma before tags": text("/a") + text("f") + FLOAT,
    "float cut off": message("/a", ",f", FLOAT[:2]),
    "float missing": message("/a", ",f"),
    "double cut off": message("/a", ",d", FLOAT),
    "bytes after the arguments": message("/a", ",f", FLOAT + FLOAT),
    "unknown tag of SuperCollider": message("/a", ",A", FLOAT),
    "sixty thousand unknown tags": message("/a", "," + "x" * 60000),
    "too many arguments": message("/a", "," + "T" * (MAX_ARGS + 1)),
    "negative blob": message("/a", ",b", b"\xff\xff\xff\xff"),
    "huge blob": message("/a", ",b", b"\x7f\xff\xff\xff"),
    "blob cut off in its padding": message("/a", ",b", b"\0\0\0\3abc"),
    "text argument without end": message("/a", ",s", b"abcd"),
    "character past Unicode": message("/a", ",c", b"\0\x11\0\0"),
    "character that is half a pair": message("/a", ",c", b"\0\0\xd8\0"),
    "array never closed": message("/a", ",[f", FLOAT),
    "array never opened": message("/a", ",f]", FLOAT),
    "deep arrays": message("/a", "," + "[" * 200 + "]" * 200),
    "long address": message("/" + "a" * 300),
    "packet too long": message("/a", ",b", b"\0\1\0\0" + b"x" * MAX_PACKET_BYTES),
    "bundle without time": b"#bundle\0",
    "bundle element of size -4": BUNDLE_HEAD + b"\xff\xff\xff\xfc",
    "bundle element of size 0": BUNDLE_HEAD + b"\0\0\0\0",
    "bundle element of size 3": BUNDLE_HEAD + b"\0\0\0\3/a\0",
    "bundle element past the end": BUNDLE_HEAD + b"\0\0\1\0" + message("/a"),
    "bundle cut off in a size": BUNDLE_HEAD + b"\0\0",
    "bundles five deep": nested(5),
    "bundles two thousand deep": nested(2000),
    "bundle of too many": bundle(*[message("/a")] * (MAX_MESSAGES + 1)),
    "bundles of too many together": bundle(*[bundle(*[message("/a")] * 100)] * 2),
}


@pytest.mark.parametrize("packet", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_packets_are_refused_at_once(packet: bytes) -> None:
    begin = time.perf_counter()

    with pytest.raises(ProtocolError):
        decode(packet)

    assert time.perf_counter() - begin < 0.1


def test_fifty_thousand_mutations_raise_nothing_but_protocol_errors() -> None:
    seeds = [packet for packet in HOSTILE.values() if 0 < len(packet) < 1000]
    seeds += [
        bundle(message("/sdv2/noise/s_min", ",f", FLOAT), message("/sdv2/prompt", ",s", text("x"))),
        message("/sdv2/all", ",ifsTFNI[fb]", b"\0\0\0\1" + FLOAT + text("é") + FLOAT + bytes(4)),
    ]
    dice = random.Random(1)
    refused = 0

    for _ in range(50_000):
        packet = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            packet[dice.randrange(len(packet))] = dice.choice((0, 1, 4, 0x2C, 0xFF, 0x80, 0x23))
        try:
            decode(bytes(packet[: dice.randint(1, len(packet))]))
        except ProtocolError:
            refused += 1

    assert 0 < refused < 50_000


@given(st.binary(max_size=300))
def test_any_bytes_give_a_packet_or_a_protocol_error(data: bytes) -> None:
    for packet in (data, b"/" + data, BUNDLE_HEAD + data):
        try:
            decode(packet)
        except ProtocolError:
            continue


ADDRESSES = st.text("abcdefghijklmnopqrstuvwxyz_/0123456789", max_size=60).map(lambda t: "/" + t)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)
ARGS = st.lists(
    st.one_of(
        st.tuples(st.just("i"), st.integers(-(2**31), 2**31 - 1)),
        st.tuples(st.just("h"), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just("f"), st.floats(width=32, allow_nan=False)),
        st.tuples(st.just("d"), st.floats(allow_nan=False)),
        st.tuples(st.just("s"), TEXTS),
        st.tuples(st.just("b"), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("T"), st.just(True)),
        st.tuples(st.just("F"), st.just(False)),
        st.tuples(st.just("N"), st.none()),
    ),
    max_size=8,
)


def built(address: str, args: list[tuple[str, object]]) -> OscMessageBuilder:
    builder = OscMessageBuilder(address)
    for tag, value in args:
        builder.add_arg(value, tag)  # type: ignore[arg-type]
    return builder


@settings(max_examples=100)
@given(ADDRESSES, ARGS)
def test_what_python_osc_builds_is_read_back(address: str, args: list[tuple[str, object]]) -> None:
    packet = decode(built(address, args).build().dgram)

    assert packet.messages == (OscMessage(address, tuple(value for _, value in args)),)


@given(st.lists(st.tuples(ADDRESSES, ARGS), min_size=1, max_size=6), st.booleans())
def test_bundles_are_flattened_in_order(
    contents: list[tuple[str, list[tuple[str, object]]]], is_nested: bool
) -> None:
    builder = OscBundleBuilder(IMMEDIATELY)
    for address, args in contents:
        builder.add_content(built(address, args).build())
    packet = builder.build().dgram

    flat = decode(bundle(packet) if is_nested else packet)

    expected = [OscMessage(address, tuple(v for _, v in args)) for address, args in contents]
    assert list(flat.messages) == expected


def test_each_rare_tag_has_its_own_kind_of_value() -> None:
    data = (
        (65).to_bytes(4, "big") + b"\x11\x22\x33\x44" + b"\0\x90\x3c\x7f" + (7).to_bytes(8, "big")
    )

    packet = decode(message("/a", ",crmtIS[TF]", data + text("sym")))

    assert packet.messages[0].args == (
        "A",
        Color(0x11223344),
        b"\0\x90\x3c\x7f",
        TimeTag(7),
        Impulse.IMPULSE,
        "sym",
        (True, False),
    )


def test_text_that_is_not_utf8_is_read_as_latin1() -> None:
    packet = decode(message("/sdv2/prompt", ",s", text("café".encode("latin-1"))))

    assert packet.messages[0].args == ("café",)


def test_a_prompt_as_long_as_a_datagram_is_read() -> None:
    prompt = "x" * 60_000

    assert decode(message("/sdv2/prompt", ",s", text(prompt))).messages[0].args == (prompt,)


def test_a_message_without_type_tags_has_no_arguments() -> None:
    assert decode(text("/sdv2/prompt")).messages == (OscMessage("/sdv2/prompt", ()),)


def test_nan_is_left_for_the_parameter_table_to_judge() -> None:
    value = decode(message("/a", ",f", struct.pack(">f", math.nan))).messages[0].args[0]

    assert isinstance(value, float)
    assert math.isnan(value)


def test_a_bad_message_in_a_bundle_is_named_and_the_others_count() -> None:
    packet = decode(bundle(message("/a"), message("/bad", ",A", FLOAT), message("/b")))

    assert [one.address for one in packet.messages] == ["/a", "/b"]
    assert len(packet.rejected) == 1
    assert "/bad" in packet.rejected[0]
