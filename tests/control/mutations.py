"""Inputs that no client should send: from good ones, by a seeded chance."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

NASTY: list[Any] = [
    *(None, True, False, "", "x" * 3000, "\0", "\ud800", "é" * 500, "NaN", "|", ":|:", "../.."),
    *(0, -1, 2**31, 2**63, -(2**64), 10**400, 1e308, -1e-308, float("nan"), float("inf"), -0.0),
    *([], {}, [[]], [{}], {"": ""}, [1] * 200, {str(i): i for i in range(200)}),
]
BYTES = (b"\0", b"\xff", b"\r\n", b"\r\n\r\n", b"{", b'"', b"\\u0000", b":", b" ", b"\x80", b"%00")


def mutated(chance: random.Random, good: bytes, others: list[bytes]) -> bytes:
    """Bytes that were `good` once."""
    out = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + chance.choice((1, 2, 4, 16, 64)))
        match chance.randrange(7):
            case 0:
                out[at:end] = chance.randbytes(end - at)
            case 1:
                del out[at:end]
            case 2:
                out[at:at] = chance.choice(BYTES) * chance.choice((1, 1, 2, 100))
            case 3:
                out[at:at] = out[at:end] * chance.choice((1, 2, 50))
            case 4:
                del out[at:]
            case 5:
                other = chance.choice(others)
                out[at:] = other[chance.randrange(len(other) + 1) :]
            case _ if out and at < len(out):
                out[at] ^= 1 << chance.randrange(8)
    return bytes(out)


def bent(chance: random.Random, good: Any) -> Any:
    """JSON content of which one part is another."""
    if isinstance(good, dict) and good and chance.random() < 0.7:
        key = chance.choice(list(good))
        match chance.randrange(5):
            case 0:
                return {k: v for k, v in good.items() if k != key}
            case 1:
                return {**good, _text(chance): chance.choice(NASTY)}
            case _:
                return {**good, key: bent(chance, good[key])}
    if isinstance(good, list) and good and chance.random() < 0.7:
        at = chance.randrange(len(good))
        return [*good[:at], bent(chance, good[at]), *good[at + 1 :]]
    return chance.choice(NASTY)


def _text(chance: random.Random) -> str:
    return "".join(
        chr(chance.choice((65, 97, 47, 46, 0, 0x20AC))) for _ in range(chance.randrange(9))
    )


def texts(chance: random.Random, good: list[dict[str, Any]], count: int) -> Iterator[str]:
    """Messages, most of them JSON still."""
    raw = [json.dumps(one).encode() for one in good]
    for _ in range(count):
        match chance.randrange(4):
            case 0:
                yield mutated(chance, chance.choice(raw), raw).decode("utf-8", "surrogateescape")
            case 1:
                depth = chance.choice((3, 50, 300, 3000))
                yield '{"type": "set", "values": {"mix": ' + "[" * depth + "]" * depth + "}}"
            case _:
                yield json.dumps(bent(chance, chance.choice(good)))
