"""OSC 1.0 encoder: messages and bundles that we send, as bytes. No I/O.

Source: OSC 1.0 specification, https://opensoundcontrol.stanford.edu/spec-1_0.html
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

OutValue = str | int | float | bool
INT32 = range(-(2**31), 2**31)
INT64 = range(-(2**63), 2**63)

_BUNDLE_AT_ONCE = b"#bundle\0" + (1).to_bytes(8, "big")


def encode_message(address: str, *values: OutValue) -> bytes:
    """One packet. Numbers as i and f, an int past 32 bits as h, text as s, truth as T and F.

    An int past 64 bits is sent as f; what is too large for f as infinity, for the receiver to
    refuse.
    """
    tags, data = [","], []
    for value in values:
        tag, raw = _argument(value)
        tags.append(tag)
        data.append(raw)
    return b"".join((_text(address), _text("".join(tags)), *data))


def encode_bundle(packets: Sequence[bytes]) -> bytes:
    """One packet of several messages that apply at once, as one change."""
    parts = [_BUNDLE_AT_ONCE]
    for packet in packets:
        parts += (len(packet).to_bytes(4, "big"), packet)
    return b"".join(parts)


def _argument(value: OutValue) -> tuple[str, bytes]:
    if isinstance(value, bool):
        return ("T" if value else "F"), b""
    if isinstance(value, str):
        return "s", _text(value)
    if isinstance(value, int) and value in INT64:
        return (
            ("i", struct.pack(">i", value)) if value in INT32 else ("h", struct.pack(">q", value))
        )
    return "f", _float(value)


def _float(value: float) -> bytes:
    try:
        return struct.pack(">f", value)
    except OverflowError:
        return struct.pack(">f", math.copysign(math.inf, value))


def _text(text: str) -> bytes:
    """UTF-8 with one to four NULs, to a multiple of 4 bytes."""
    # A NUL would end the text on the wire; what is no Unicode cannot be sent at all.
    raw = text.split("\0", 1)[0].encode("utf-8", "replace")
    return raw + b"\0" * (4 - len(raw) % 4)
