"""The encoder against python-osc's builder and against our own decoder."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage as PythonOscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from sdv2_host.ipc.osc import OscMessage, decode
from sdv2_host.ipc.osc_encode import INT32, OutValue, encode_bundle, encode_message

ADDRESSES = st.text("abcdefghijklmnopqrstuvwxyz_/0123456789", max_size=60).map(lambda t: "/" + t)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)
VALUES = st.lists(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=32, allow_nan=False),
        TEXTS,
    ),
    max_size=8,
)


def built(address: str, values: list[OutValue]) -> bytes:
    """What python-osc makes of it."""
    builder = OscMessageBuilder(address)
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            builder.add_arg(value, "i" if value in INT32 else "h")
        elif isinstance(value, float):
            builder.add_arg(value, "f")
        else:
            builder.add_arg(value)
    return bytes(builder.build().dgram)


@given(ADDRESSES, VALUES)
def test_each_message_is_byte_for_byte_what_python_osc_builds(
    address: str, values: list[OutValue]
) -> None:
    assert encode_message(address, *values) == built(address, values)


@given(st.lists(st.tuples(ADDRESSES, VALUES), min_size=1, max_size=6))
def test_each_bundle_is_byte_for_byte_what_python_osc_builds(
    contents: list[tuple[str, list[OutValue]]],
) -> None:
    builder = OscBundleBuilder(IMMEDIATELY)
    for address, values in contents:
        builder.add_content(PythonOscMessage(built(address, values)))

    ours = encode_bundle([encode_message(address, *values) for address, values in contents])

    assert ours == builder.build().dgram


@given(ADDRESSES, VALUES)
def test_what_is_encoded_is_read_back(address: str, values: list[OutValue]) -> None:
    assert decode(encode_message(address, *values)).messages == (
        OscMessage(address, tuple(values)),
    )


@pytest.mark.parametrize("number", [1e39, -1e39, math.inf, 2**64, -(2**70)])
def test_a_number_too_large_for_the_wire_is_sent_as_infinity(number: float) -> None:
    value = decode(encode_message("/a", number)).messages[0].args[0]

    expected = math.copysign(math.inf, number) if abs(number) > 2**127 else float(number)
    assert value == expected


def test_nan_stays_nan() -> None:
    assert encode_message("/a", math.nan).endswith(struct.pack(">f", math.nan))


def test_text_ends_at_a_nul_and_what_is_no_unicode_becomes_a_question_mark() -> None:
    packet = decode(encode_message("/a", "neon\0city", "half \ud83d"))

    assert packet.messages[0].args == ("neon", "half ?")
