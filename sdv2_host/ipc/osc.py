"""Bounded OSC 1.0 decoder: bytes in, messages out, no I/O.

    packet   = message | bundle                           at most MAX_PACKET_BYTES
    bundle   = "#bundle\\0" timetag(8) {size(4) packet}    nested at most MAX_DEPTH deep
    message  = address ",tags" arguments                  strings end in NUL, padded to 4 bytes

Work is linear in the packet's size: one pass, an explicit stack, no regular expression. Own code
because python-osc loops for ever on a bundle element of negative size and turns a truncated
float into 0.0. Timetags are read and ignored: every bundle applies at once, as one change.
Source: OSC 1.0 specification, https://opensoundcontrol.stanford.edu/spec-1_0.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from sdv2_host.errors import ProtocolError

MAX_PACKET_BYTES = 65536
MAX_DEPTH = 4
MAX_MESSAGES = 128
MAX_ARGS = 256
MAX_ADDRESS_CHARS = 255

_BUNDLE = b"#bundle\0"
_BUNDLE_HEADER_BYTES = 16


class Impulse(Enum):
    """The argument of tag I: a bang."""

    IMPULSE = "I"


@dataclass(frozen=True, slots=True)
class TimeTag:
    """The argument of tag t: NTP seconds in the upper 32 bits, fraction in the lower."""

    ntp: int


@dataclass(frozen=True, slots=True)
class Color:
    """The argument of tag r: 0xRRGGBBAA."""

    rgba: int


OscArgument = (
    int | float | str | bytes | bool | None | Impulse | TimeTag | Color | tuple["OscArgument", ...]
)
"""i h -> int, f d -> float (may be NaN), s S c -> str, b m -> bytes, [ ] -> tuple, N -> None."""


@dataclass(frozen=True, slots=True)
class OscMessage:
    address: str
    args: tuple[OscArgument, ...]


@dataclass(frozen=True, slots=True)
class OscPacket:
    """All messages of one datagram in order, and why others in the same bundle were left out."""

    messages: tuple[OscMessage, ...]
    rejected: tuple[str, ...] = ()


def decode(packet: bytes) -> OscPacket:
    """The messages of a datagram; bundles are flattened.

    A bad message inside a sound bundle is left out and named in `rejected`.

    Raises:
        ProtocolError: not OSC, or past one of the limits above.
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise ProtocolError(f"packet of {len(packet)} bytes, allowed are {MAX_PACKET_BYTES}")
    if not packet.startswith(_BUNDLE):
        return OscPacket((decode_message(packet),))
    messages: list[OscMessage] = []
    rejected: list[str] = []
    for element in _elements(packet):
        try:
            messages.append(decode_message(element))
        except ProtocolError as error:
            rejected.append(str(error))
    return OscPacket(tuple(messages), tuple(rejected))


def _elements(packet: bytes) -> list[bytes]:
    """The messages' bytes of a bundle and of the bundles in it, in order of arrival."""
    found: list[bytes] = []
    waiting: list[tuple[int, bytes]] = [(1, packet)]
    while waiting:
        depth, data = waiting.pop()
        if not data.startswith(_BUNDLE):
            found.append(data)
        elif depth > MAX_DEPTH:
            raise ProtocolError(f"bundles nested more than {MAX_DEPTH} deep")
        else:
            parts = _split_bundle(data)
            # Reversed: the stack's top is the next in order of arrival.
            waiting.extend((depth + 1, part) for part in reversed(parts))
        if len(found) + len(waiting) > MAX_MESSAGES:
            raise ProtocolError(f"more than {MAX_MESSAGES} messages in one bundle")
    return found


def _split_bundle(data: bytes) -> list[bytes]:
    if len(data) < _BUNDLE_HEADER_BYTES:
        raise ProtocolError("bundle cut off in its time tag")
    parts: list[bytes] = []
    at = _BUNDLE_HEADER_BYTES
    while at < len(data):
        if at + 4 > len(data):
            raise ProtocolError("bundle cut off in an element's size")
        size = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        if size <= 0 or size % 4 or at + size > len(data):
            raise ProtocolError(f"bundle element of {size} bytes, {len(data) - at} are left")
        parts.append(data[at : at + size])
        at += size
        if len(parts) > MAX_MESSAGES:
            raise ProtocolError(f"more than {MAX_MESSAGES} messages in one bundle")
    return parts


def decode_message(data: bytes) -> OscMessage:
    """The one message in `data`.

    Raises:
        ProtocolError: saying where it stops being OSC.
    """
    if not data.startswith(b"/"):
        raise ProtocolError(f"neither an address nor a bundle: {data[:16]!r}")
    address, at = _string(data, 0)
    if len(address) > MAX_ADDRESS_CHARS:
        raise ProtocolError(f"address of {len(address)} characters, allowed {MAX_ADDRESS_CHARS}")
    if at == len(data):  # old senders leave out the tags when there are no arguments
        return OscMessage(address, ())
    tags, at = _string(data, at)
    if not tags.startswith(","):
        raise ProtocolError(f"{address!r}: type tags must start with ',', not {tags[:8]!r}")
    if len(tags) - 1 > MAX_ARGS:
        raise ProtocolError(f"{address!r}: {len(tags) - 1} arguments, allowed are {MAX_ARGS}")
    return OscMessage(address, _arguments(address, tags[1:], data, at))


def _arguments(address: str, tags: str, data: bytes, at: int) -> tuple[OscArgument, ...]:
    stack: list[list[OscArgument]] = [[]]
    for tag in tags:
        if tag == "[":
            if len(stack) > MAX_DEPTH:
                raise ProtocolError(f"{address!r}: arrays nested more than {MAX_DEPTH} deep")
            stack.append([])
        elif tag == "]":
            if len(stack) == 1:
                raise ProtocolError(f"{address!r}: ']' without '['")
            array = tuple(stack.pop())
            stack[-1].append(array)
        else:
            value, at = _argument(address, tag, data, at)
            stack[-1].append(value)
    if len(stack) != 1:
        raise ProtocolError(f"{address!r}: '[' without ']'")
    if at != len(data):
        raise ProtocolError(f"{address!r}: {len(data) - at} bytes after the last argument")
    return tuple(stack[0])


_CONSTANTS: dict[str, OscArgument] = {"T": True, "F": False, "N": None, "I": Impulse.IMPULSE}
_NUMBERS = {
    "i": struct.Struct(">i"),
    "h": struct.Struct(">q"),
    "f": struct.Struct(">f"),
    "d": struct.Struct(">d"),
    "t": struct.Struct(">Q"),
    "r": struct.Struct(">I"),
    "c": struct.Struct(">I"),
}
_WRAPPED: dict[str, type[TimeTag] | type[Color]] = {"t": TimeTag, "r": Color}


def _argument(address: str, tag: str, data: bytes, at: int) -> tuple[OscArgument, int]:
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in "sS":
        return _string(data, at)
    if tag == "b":
        return _blob(address, data, at)
    if tag == "m":
        return _take(address, tag, data, at, 4), at + 4
    if tag not in _NUMBERS:
        raise ProtocolError(f"{address!r}: unknown type tag {tag!r}")
    layout = _NUMBERS[tag]
    number = layout.unpack(_take(address, tag, data, at, layout.size))[0]
    if tag == "c":
        number = _character(address, number)
    elif tag in _WRAPPED:
        number = _WRAPPED[tag](number)
    return number, at + layout.size


def _take(address: str, tag: str, data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ProtocolError(f"{address!r}: cut off in an argument of type {tag!r}")
    return data[at : at + size]


def _character(address: str, code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ProtocolError(f"{address!r}: {code:#x} is no character")
    return chr(code)


def _blob(address: str, data: bytes, at: int) -> tuple[bytes, int]:
    size = int.from_bytes(_take(address, "b", data, at, 4), "big", signed=True)
    padded = -(-size // 4) * 4
    if size < 0 or at + 4 + padded > len(data):
        raise ProtocolError(f"{address!r}: blob of {size} bytes, {len(data) - at - 4} are left")
    return data[at + 4 : at + 4 + size], at + 4 + padded


def _string(data: bytes, at: int) -> tuple[str, int]:
    """The text that starts at `at` and the offset after its padding.

    UTF-8; what is not UTF-8 is read as latin-1, which old Max and Windows senders mean.
    """
    end = data.find(b"\0", at)
    if end < 0:
        raise ProtocolError(f"text without end at byte {at}")
    raw = data[at:end]
    # At least one NUL, then up to the next multiple of 4: 0..3 characters take 4 bytes.
    following = at + (len(raw) // 4 + 1) * 4
    if following > len(data):
        raise ProtocolError(f"text cut off in its padding at byte {end}")
    try:
        return raw.decode("utf-8"), following
    except UnicodeDecodeError:
        return raw.decode("latin-1"), following
