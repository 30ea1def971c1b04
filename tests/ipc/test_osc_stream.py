from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.osc import MAX_PACKET_BYTES, decode
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.ipc.osc_stream import END, ESC, Framing, PacketStream, frame

packets = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6)


@given(packets, st.sampled_from(Framing), st.integers(1, 17))
def test_packets_come_out_as_they_went_in_however_the_bytes_are_cut(
    sent: list[bytes], framing: Framing, cut: int
) -> None:
    stream = PacketStream()
    wire = b"".join(frame(packet, framing) for packet in sent)

    got = [p for at in range(0, len(wire), cut) for p in stream.feed(wire[at : at + cut])]

    assert got == sent
    assert stream.framing is framing


def test_one_end_between_packets_is_enough() -> None:
    end = bytes((END,))

    assert PacketStream().feed(end + b"/a" + end + b"/b" + end) == [b"/a", b"/b"]


@pytest.mark.parametrize(
    "wire",
    [
        b"\0\0\0\0",
        (MAX_PACKET_BYTES + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        bytes((END, ESC, 0x41, END)),
        bytes((END, 0x41, ESC, END)),
        bytes((END,)) + b"x" * (2 * MAX_PACKET_BYTES + 1),
    ],
)
def test_a_stream_that_is_neither_framing_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        PacketStream().feed(wire)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_random_bytes_raise_nothing_else(chunks: list[bytes]) -> None:
    stream = PacketStream()
    try:
        for chunk in chunks:
            stream.feed(chunk)
    except ProtocolError:
        pass


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.booleans(),
            st.floats(width=32, allow_nan=False),
            st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])),
        ),
        max_size=6,
    )
)
def test_our_own_decoder_reads_what_we_send(values: list[str | int | float | bool]) -> None:
    message = decode(encode_message("/sdv2/x", *values)).messages[0]

    assert message.address == "/sdv2/x"
    assert list(message.args) == values
    assert [type(v) for v in message.args] == [type(v) for v in values]


def test_a_text_that_cannot_be_sent_is_cut_or_replaced() -> None:
    assert decode(encode_message("/x", "a\0b", "\ud800")).messages[0].args == ("a", "?")
