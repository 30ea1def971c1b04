"""What travels between two places: one latent frame of one row of one call, or a token, as bytes.

A call is one forward over rows at neighbouring steps with equally many frames. It is sent as
leaves in row-major order (row, frame), so a leaf has the same size whatever the number of steps
and the length of chunks are, and receives can stay posted. A token goes in line with the leaves.
All numbers are little-endian.

    offset  type   field
    0       4s     magic "SDVL"
    4       u16    version
    6       u16    kind: 1 leaf, 2 token
    8       u64    epoch
    16      u64    num_bytes of the link's LeafShape: both ends must mean the same model
    leaf
    24             its header, see `leaf_header`
    128     f32    scalars [SCALARS]
    192            x_CHW, then tokens_SE, of the link's dtype
    token
    24      u64    length of the body in bytes
    128            UTF-8 body

Pure: no I/O. What comes from a peer is checked before it is believed; nothing larger than the
link's leaf is ever made of it.

# C channels  H W latent size  S tokens of a latent frame  E model width
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from sdv2_host.stages.leaf_header import (
    Header,
    PacketError,
    check_header,
    read_header,
    write_header_,
)

SCALARS = 16
"""Float32 numbers of a row that only the device knows, such as its noise levels."""

_MAGIC = b"SDVL"
_VERSION = 1
_PREFIX = struct.Struct("<4sHHQQ")
_TOKEN = struct.Struct("<Q")
_HEADER_BYTES = 128
_SCALARS_BYTES = SCALARS * 4


class Kind(IntEnum):
    LEAF = 1
    TOKEN = 2


class Leaf(NamedTuple):
    header: Header
    scalars: Tensor
    """Float32 [SCALARS]."""
    x_CHW: Tensor
    tokens_SE: Tensor | None


class Token(NamedTuple):
    """What is said in line with the leaves: all before it was said under the old plan."""

    epoch: int
    body: bytes
    """JSON; at most `LeafShape.max_body_bytes`."""


@dataclass(frozen=True, slots=True)
class LeafShape:
    """What one link carries, for the life of an engine."""

    latent_shape: tuple[int, int, int]
    """(C, H, W)."""
    tokens_shape: tuple[int, int] | None
    """(S, E); None = a link that carries latents only."""
    dtype: torch.dtype

    @property
    def x_bytes(self) -> int:
        return math.prod(self.latent_shape) * self.dtype.itemsize

    @property
    def tokens_bytes(self) -> int:
        return math.prod(self.tokens_shape) * self.dtype.itemsize if self.tokens_shape else 0

    @property
    def num_bytes(self) -> int:
        """Of the largest packet, which is what a buffer of the link must hold."""
        return _HEADER_BYTES + self.payload_bytes(has_tokens=True)

    def payload_bytes(self, *, has_tokens: bool) -> int:
        """Of a leaf behind its head: its tensors."""
        return _SCALARS_BYTES + self.x_bytes + self.tokens_bytes * has_tokens

    @property
    def max_body_bytes(self) -> int:
        """Of a token."""
        return self.num_bytes - _HEADER_BYTES


def pack_(
    packet: Leaf | Token, shape: LeafShape, buffer: Tensor, *, non_blocking: bool = False
) -> int:
    """`buffer`, uint8 of `shape.num_bytes` in host memory, begins with the packet; how many bytes
    of it that takes.

    With `non_blocking` tensors of a CUDA device are still on their way on its current stream.

    Raises:
        PacketError: a header out of range, or a token that is too large.
    """
    head_bytes = pack_head_(packet, shape, buffer)
    if isinstance(packet, Token):
        return head_bytes
    num_bytes = head_bytes + shape.payload_bytes(has_tokens=packet.header.has_tokens)
    pack_payload_(packet, shape, buffer[head_bytes:num_bytes], non_blocking=non_blocking)
    return num_bytes


def pack_head_(packet: Leaf | Token, shape: LeafShape, buffer: Tensor) -> int:
    """The same for a leaf without its tensors, and for a token as it is.

    Raises:
        PacketError: see `pack_`.
    """
    if isinstance(packet, Token):
        return _pack_token_(packet, shape, buffer)
    header = packet.header
    _check(header, shape)
    assert header.has_tokens == (packet.tokens_SE is not None), "has_tokens is not what it has"
    _write_prefix_(buffer, Kind.LEAF, header.epoch, shape)
    write_header_(header, buffer.numpy().data, _PREFIX.size)
    return _HEADER_BYTES


def pack_payload_(
    leaf: Leaf, shape: LeafShape, payload: Tensor, *, non_blocking: bool = False
) -> None:
    """`payload`, uint8 of `shape.payload_bytes` on any device, has the leaf's tensors."""
    header, scalars, x_CHW, tokens_SE = leaf
    assert scalars.dtype == torch.float32, f"scalars are {scalars.dtype}"
    parts = payload_of(header, shape, payload)
    parts.scalars.copy_(scalars, non_blocking=non_blocking)
    parts.x_CHW.copy_(_like(x_CHW, parts.x_CHW), non_blocking=non_blocking)
    if tokens_SE is not None:
        assert parts.tokens_SE is not None, "pack_head_ has compared"
        parts.tokens_SE.copy_(_like(tokens_SE, parts.tokens_SE), non_blocking=non_blocking)


def unpack(
    buffer: Tensor,
    shape: LeafShape,
    device: torch.device | None = None,
    *,
    non_blocking: bool = False,
) -> Leaf | Token:
    """The packet that `buffer` begins with, in memory of its own; on `device`, by default the
    host's.

    With `non_blocking` the copies to a CUDA device are still under way on its current stream.

    Raises:
        PacketError: the bytes are no packet of this link.
    """
    head = unpack_head(buffer, shape)
    if isinstance(head, Token):
        return head

    def own(part: Tensor) -> Tensor:
        return torch.empty_like(part, device=device).copy_(part, non_blocking=non_blocking)

    there = payload_of(head, shape, buffer[_HEADER_BYTES:])
    tokens_SE = own(there.tokens_SE) if there.tokens_SE is not None else None
    return Leaf(head, own(there.scalars), own(there.x_CHW), tokens_SE)


def unpack_head(buffer: Tensor, shape: LeafShape) -> Header | Token:
    """What `pack_head_` was given, but for a leaf's tensors.

    Raises:
        PacketError: the bytes are no packet of this link.
    """
    if buffer.numel() != shape.num_bytes:
        raise PacketError(f"{buffer.numel()} bytes: expected {shape.num_bytes}")
    raw = buffer.numpy().data
    magic, version, kind, epoch, num_bytes = _PREFIX.unpack_from(raw)
    if magic != _MAGIC or version != _VERSION:
        raise PacketError(f"begins with {magic!r} {version}: expected {_MAGIC!r} {_VERSION}")
    if num_bytes != shape.num_bytes:
        raise PacketError(f"of a link of {num_bytes} bytes: this one has {shape.num_bytes}")
    if kind == Kind.TOKEN:
        (length,) = _TOKEN.unpack_from(raw, _PREFIX.size)
        if length > shape.max_body_bytes:
            raise PacketError(f"token of {length} bytes: at most {shape.max_body_bytes}")
        return Token(epoch, raw[_HEADER_BYTES : _HEADER_BYTES + length].tobytes())
    if kind != Kind.LEAF:
        raise PacketError(f"kind {kind}: expected {list(map(int, Kind))}")
    header = read_header(epoch, raw, _PREFIX.size)
    _check(header, shape)
    return header


def payload_of(header: Header, shape: LeafShape, payload: Tensor) -> Leaf:
    """The leaf with this header; its tensors are views of `payload`, see `pack_payload_`."""
    tokens_offset = _SCALARS_BYTES + shape.x_bytes
    scalars = payload[:_SCALARS_BYTES].view(torch.float32)
    x_CHW = payload[_SCALARS_BYTES:tokens_offset].view(shape.dtype).view(shape.latent_shape)
    if not header.has_tokens:
        return Leaf(header, scalars, x_CHW, None)
    assert shape.tokens_shape is not None, "a header is checked before"
    tokens = payload[tokens_offset : tokens_offset + shape.tokens_bytes].view(shape.dtype)
    return Leaf(header, scalars, x_CHW, tokens.view(shape.tokens_shape))


def _like(tensor: Tensor, part: Tensor) -> Tensor:
    """`tensor`, which must be what the link carries: a copy would convert or broadcast it."""
    assert (tensor.shape, tensor.dtype) == (part.shape, part.dtype), (
        f"{tuple(tensor.shape)} of {tensor.dtype}: the link carries "
        f"{tuple(part.shape)} of {part.dtype}"
    )
    return tensor


def _pack_token_(token: Token, shape: LeafShape, buffer: Tensor) -> int:
    length = len(token.body)
    if length > shape.max_body_bytes:
        raise PacketError(f"token of {length} bytes: at most {shape.max_body_bytes}")
    _write_prefix_(buffer, Kind.TOKEN, token.epoch, shape)
    raw = buffer.numpy().data
    _TOKEN.pack_into(raw, _PREFIX.size, length)
    raw[_HEADER_BYTES : _HEADER_BYTES + length] = token.body
    return _HEADER_BYTES + length


def _write_prefix_(buffer: Tensor, kind: Kind, epoch: int, shape: LeafShape) -> None:
    assert buffer.numel() == shape.num_bytes, f"{buffer.numel()} bytes, not {shape.num_bytes}"
    raw = buffer.numpy().data
    raw[:_HEADER_BYTES] = bytes(_HEADER_BYTES)
    _PREFIX.pack_into(raw, 0, _MAGIC, _VERSION, kind, epoch, shape.num_bytes)


def _check(header: Header, shape: LeafShape) -> None:
    """
    Raises:
        PacketError: a number out of range, or tokens on a link that has none.
    """
    check_header(header)
    if header.has_tokens and shape.tokens_shape is None:
        raise PacketError("has tokens: this link carries latents only")
