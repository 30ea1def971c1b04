"""Hostile descriptors, given to `parse_descriptor`."""

from __future__ import annotations

import json
from pathlib import Path

from sdv2_host.bench.hostile_dice import ACCEPTED, Dice, insist
from sdv2_host.bench.hostile_slots import SEGMENT, STREAM, UUID
from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_descriptor import parse_descriptor

_HEX = frozenset("0123456789abcdef")
_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 1.5, 1 << 63, (1 << 64) - 1, 1 << 64, 10**400, float("inf"),
    float("nan"), "", "0", [], {}, [1, 0], [1], [1, 7], [2, 0], ["1", 0], [True, 0], [[]],
    "../../etc/passwd", "/etc/passwd", "lfr.", "lfr." + "0" * 19, "lfr." + "0" * 21,
    "lfr." + "0" * 20, "lfr." + "g" * 20, "lfr." + "F" * 20, "lfr." + "0" * 20 + "\n",
    "lfr./../" + "0" * 15, "lfr." + "0" * 16 + "/../", "C:\\x", "\\\\host\\share\\x", "CON",
    "\0", "a\0b", "\ud800", "\u0660" * 20, "é", STREAM, "fuzz-in\n", "fuzz_in", "memory", "file",
    "files", UUID.hex(), UUID.hex().upper(), "0" * 31, "x" * 3000, {"a": {"b": [None]}},
)  # fmt: skip
_BYTES = b'"\\{}[]:,u0019lfr.\xff\x01 abi\xed\xa0\x80\xef\xbb\xbf'
_JUNK: tuple[bytes, ...] = (
    b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 4096, b'{"a":' * 700,
    b"1" * 4096, b"-", b"NaN", b'"' + b"x" * 4000, b"\0" * 4096, b"1e" + b"9" * 4000,
)  # fmt: skip


def sound_fields(segment: str) -> dict[str, object]:
    """Of a descriptor that is accepted, in an order of their own."""
    return {
        "stream": STREAM,
        "abi": [1, 0],
        "segment": segment,
        "generation": 1,
        "uuid": UUID.hex(),
        "pid": 77,
        "writer": "fuzz",
        "created_unix_ns": 12345,
        "doorbell": None,
    }


def disturbed_descriptor(fields: dict[str, object], dice: Dice) -> bytes:
    """Bytes that are nearly the descriptor of `fields`, or nothing like it."""
    way = dice.below(16)
    if way == 0:
        return dice.pick(_JUNK)
    if way == 1:  # as deep as the parser lets pass, and deeper
        depth = 1 + dice.below(2000)
        nest = b"[" * depth + b"]" * depth
        return b'{"abi": [1, 0], "%s": %s}' % (dice.pick((b"writer", b"abi", b"pid")), nest)
    changed = dict(fields)
    names = (*fields, "backing")
    for _ in range(dice.pick((0, 1, 1, 2))):
        name = dice.pick(names)
        if dice.is_one_in(8):
            changed.pop(name, None)
        else:
            changed[name] = dice.pick(_VALUES)
    text = json.dumps(changed)
    if dice.is_one_in(16):
        return text.encode(dice.pick(("utf-16", "utf-32", "utf-16-be", "utf-8")))
    raw = bytearray(text.encode())
    for _ in range(dice.pick((0, 0, 1, 2))):
        at = dice.below(len(raw))
        raw[at : at + dice.below(3)] = bytes(dice.pick(_BYTES) for _ in range(dice.below(3)))
        raw = raw or bytearray(b"{")
    if dice.is_one_in(24):
        del raw[dice.below(len(raw)) :]
    return bytes(raw)


class DescriptorCases:
    """Texts that are nearly a descriptor."""

    def __init__(self, folder: Path) -> None:
        """`folder` is not used: a descriptor is bytes."""
        self._fields = sound_fields(SEGMENT)

    def attempt(self, dice: Dice) -> str:
        raw = disturbed_descriptor(self._fields, dice)
        try:
            found = parse_descriptor(raw, STREAM)
        except RingError as error:
            return _reason(str(error))
        name = found.segment
        insist(found.stream == STREAM, f"stream {found.stream!r} was accepted")
        insist(
            len(name) == 24 and name.startswith("lfr.") and set(name[4:]) <= _HEX,
            f"segment name {name!r} was accepted",
        )
        insist(len(found.uuid) == 32 and set(found.uuid) <= _HEX, f"uuid {found.uuid!r}")
        insist(found.backing in ("memory", "file"), f"backing {found.backing!r}")
        for number in (found.generation, found.pid, found.created_unix_ns):
            insist(type(number) is int and 0 <= number < 1 << 64, f"number {number!r}")
        return ACCEPTED

    def close(self) -> None:
        """Nothing was made."""


def _reason(message: str) -> str:
    """Which check it was."""
    if message.startswith("descriptor: "):
        return message.removeprefix("descriptor: ").partition(" = ")[0]
    for what in ("is not JSON", "is not a JSON object", "has ABI", "belongs to", "is longer"):
        if what in message:
            return what
    return message
