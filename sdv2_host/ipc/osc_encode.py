"""OSC messages that we send, built by python-osc."""

from __future__ import annotations

from pythonosc.osc_message_builder import OscMessageBuilder

OutValue = str | int | float | bool
INT32 = range(-(2**31), 2**31)


def encode_message(address: str, *values: OutValue) -> bytes:
    """One packet. Numbers as i and f, an int past 32 bits as h, text as s, truth as T and F."""
    builder = OscMessageBuilder(address)
    for value in values:
        if isinstance(value, bool):
            builder.add_arg(value)
        elif isinstance(value, int):
            builder.add_arg(value, "i" if value in INT32 else "h")
        elif isinstance(value, float):
            builder.add_arg(value, "f")
        else:
            # A NUL would end the text on the wire; what is no Unicode cannot be sent at all.
            text = value.split("\0", 1)[0].encode("utf-8", "replace").decode("utf-8")
            builder.add_arg(text, "s")
    return bytes(builder.build().dgram)
