"""Packets between places: what goes in comes out, and nothing a peer sends is believed."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.stages.leaf_header import Header, PacketError
from sdv2_host.stages.packet import Leaf, LeafShape, Token, pack_, unpack
from tests.stages.any_packets import BACK, HEADER, SHAPE, any_header, bits_of, leaf_of

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def shapes() -> st.SearchStrategy[LeafShape]:
    size = st.integers(1, 4)
    return st.builds(
        LeafShape,
        latent_shape=st.tuples(size, size, size),
        tokens_shape=st.tuples(size, size),
        dtype=st.sampled_from(DTYPES),
    )


def packed(packet: Leaf | Token, shape: LeafShape = SHAPE) -> torch.Tensor:
    buffer = torch.full((shape.num_bytes,), 0xAA, dtype=torch.uint8)
    pack_(packet, shape, buffer)
    return buffer


@given(any_header(), shapes(), st.integers(0, 1 << 32))
def test_a_leaf_comes_out_as_it_went_in_bit_for_bit(
    header: Header, shape: LeafShape, seed: int
) -> None:
    leaf = leaf_of(header, shape, seed)

    assert bits_of(unpack(packed(leaf, shape), shape)) == bits_of(leaf)


@given(any_header(has_tokens=False), st.integers(0, 1 << 32))
def test_a_leaf_of_latents_comes_out_of_a_link_of_latents(header: Header, seed: int) -> None:
    leaf = leaf_of(header, BACK, seed)

    assert bits_of(unpack(packed(leaf, BACK), BACK)) == bits_of(leaf)


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=SHAPE.max_body_bytes))
def test_a_token_comes_out_as_it_went_in(epoch: int, body: bytes) -> None:
    token = Token(epoch, body)

    assert unpack(packed(token), SHAPE) == token


@given(any_header(), st.integers(0, 1 << 32))
def test_the_bytes_that_are_said_to_be_used_are_enough(header: Header, seed: int) -> None:
    leaf = leaf_of(header, SHAPE, seed)
    buffer = torch.zeros(SHAPE.num_bytes, dtype=torch.uint8)
    other = torch.full_like(buffer, 0x55)

    used = pack_(leaf, SHAPE, buffer)
    other[:used] = buffer[:used]

    assert bits_of(unpack(other, SHAPE)) == bits_of(leaf)


def test_what_comes_out_shares_no_memory_with_the_buffer() -> None:
    leaf = leaf_of(HEADER, SHAPE)
    buffer = packed(leaf)

    out = unpack(buffer, SHAPE)
    buffer.fill_(0)

    assert bits_of(out) == bits_of(leaf)


def believed(buffer: torch.Tensor, shape: LeafShape) -> None:
    """Whatever is made of these bytes is no larger than a leaf, or refused with a PacketError."""
    try:
        packet = unpack(buffer, shape)
    except PacketError:
        return
    if isinstance(packet, Token):
        assert len(packet.body) <= shape.num_bytes
        return
    assert packet.x_CHW.untyped_storage().nbytes() == shape.x_bytes
    if packet.tokens_SE is not None:
        assert packet.tokens_SE.untyped_storage().nbytes() == shape.tokens_bytes
    assert bits_of(unpack(packed(packet, shape), shape)) == bits_of(packet)


@given(st.binary(max_size=2 * SHAPE.num_bytes))
def test_arbitrary_bytes_are_refused_with_a_packet_error(raw: bytes) -> None:
    buffer = torch.frombuffer(bytearray(raw or b"\0"), dtype=torch.uint8)

    with pytest.raises(PacketError):
        unpack(buffer, SHAPE)


@given(st.binary(min_size=104, max_size=104), st.sampled_from((SHAPE, BACK)), st.booleans())
def test_arbitrary_fields_behind_a_good_prefix_are_checked(
    fields: bytes, shape: LeafShape, is_token: bool
) -> None:
    start: Leaf | Token = Token(3, b"{}")
    if not is_token:
        start = leaf_of(dataclasses.replace(HEADER, has_tokens=False), shape)
    buffer = packed(start, shape)
    buffer[24:128] = torch.frombuffer(bytearray(fields), dtype=torch.uint8)

    believed(buffer, shape)


@given(any_header(), st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), max_size=6))
def test_mutated_leaves_are_checked(header: Header, changes: list[tuple[int, int]]) -> None:
    buffer = packed(leaf_of(header, SHAPE))

    for offset, value in changes:
        buffer[offset] = value

    believed(buffer, SHAPE)


Poke = tuple[str, int, float]
"""(struct format, offset, value)."""


@pytest.mark.parametrize(
    ("poke", "said"),
    [
        (("<4s", 0, b"SDVX"), "begins with"),
        (("<H", 4, 2), "begins with"),
        (("<H", 6, 3), "kind 3"),
        (("<Q", 16, 1 << 63), "of a link of 9223372036854775808 bytes"),
        (("<d", 64, float("nan")), "noise_hold nan"),
        (("<d", 72, float("-inf")), "sink_threshold -inf"),
        (("<H", 80, 5), "num_rows 5: expected 1 to 4"),
        (("<H", 80, 0), "num_rows 0"),
        (("<H", 82, 1), "row 1: expected 0 to 0"),
        (("<H", 84, 1025), "num_frames 1025"),
        (("<H", 86, 1), "frame 1: expected 0 to 0"),
        (("<H", 88, 1025), "block 1025"),
        (("<H", 90, 0), "num_steps 0"),
        (("<H", 92, 3), "step 3: expected 0 to 2"),
        (("<H", 94, 16), "flags 0x10"),
    ],
)
def test_each_field_out_of_range_is_named(poke: Poke, said: str) -> None:
    form, offset, value = poke
    buffer = packed(leaf_of(HEADER, SHAPE))
    struct.pack_into(form, buffer.numpy(), offset, value)

    with pytest.raises(PacketError, match=said):
        unpack(buffer, SHAPE)


def test_a_token_longer_than_the_link_is_refused_on_both_sides() -> None:
    longest = Token(1, b"x" * SHAPE.max_body_bytes)
    buffer = packed(longest)
    struct.pack_into("<Q", buffer.numpy(), 24, SHAPE.max_body_bytes + 1)

    assert unpack(packed(longest), SHAPE) == longest
    with pytest.raises(PacketError, match="token of"):
        unpack(buffer, SHAPE)
    with pytest.raises(PacketError, match="token of"):
        packed(Token(1, longest.body + b"x"))


def test_tokens_are_refused_by_a_link_of_latents() -> None:
    leaf = leaf_of(dataclasses.replace(HEADER, has_tokens=False), BACK)
    buffer = packed(leaf, BACK)
    buffer[94] |= 8

    with pytest.raises(PacketError, match="latents only"):
        unpack(buffer, BACK)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda leaf: leaf._replace(x_CHW=leaf.x_CHW.double()),
        lambda leaf: leaf._replace(x_CHW=leaf.x_CHW[:, :, :1]),
        lambda leaf: leaf._replace(tokens_SE=leaf.tokens_SE[:1]),
        lambda leaf: leaf._replace(tokens_SE=None),
        lambda leaf: leaf._replace(scalars=leaf.scalars.half()),
    ],
)
def test_a_leaf_that_is_not_the_links_is_not_converted(spoil: Callable[[Leaf], Leaf]) -> None:
    with pytest.raises(AssertionError):
        packed(spoil(leaf_of(HEADER, SHAPE)))


def test_a_header_out_of_range_is_not_sent() -> None:
    with pytest.raises(PacketError, match="row 4"):
        packed(leaf_of(dataclasses.replace(HEADER, row=4), SHAPE))
