"""What the parameter `lora` asks for: names with strengths, as text and as values."""

from __future__ import annotations

import re
from typing import NamedTuple

from sdv2_host.errors import ParamError

LORA_MAX_CHARS = 500
MAX_LORAS = 8
MAX_STRENGTH = 2.0
LORA_SYNTAX = (
    "names with strengths such as 'ghibli:0.8, ink' (letters, digits, '_', '-' and '.'; strength "
    f"{-MAX_STRENGTH:g}..{MAX_STRENGTH:g}, 1 where none is given; at most {MAX_LORAS})"
)
LORA_SUFFIX = ".safetensors"

# No path can be written with these: no separator, and no dot in front.
LORA_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_NUMBER = re.compile(r"[+-]?(\d{1,3}(\.\d{0,12})?|\.\d{1,12})")


class LoraWish(NamedTuple):
    """One LoRA file, by the name it has in the folder of LoRAs, without its suffix."""

    name: str
    strength: float


def parse_loras(text: str) -> tuple[LoraWish, ...]:
    """The LoRAs that `text` asks for, in its order; none when it is empty.

    Raises:
        ParamError: not `LORA_SYNTAX`, a name given twice, or a strength out of its range.
    """
    if len(text) > LORA_MAX_CHARS:
        raise ParamError(f"lora has {len(text)} characters, allowed are {LORA_MAX_CHARS}")
    items = [item.strip() for item in text.split(",")]
    wishes = tuple(_parse_one(item) for item in items if item)
    names = [wish.name for wish in wishes]
    if len(wishes) > MAX_LORAS:
        raise ParamError(f"lora = {text!r}: {len(wishes)} names, allowed are {MAX_LORAS}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ParamError(f"lora = {text!r}: {twice[0]} is named twice, name it once")
    return wishes


def _parse_one(item: str) -> LoraWish:
    name, colon, number = (part.strip() for part in item.partition(":"))
    name = name.removesuffix(LORA_SUFFIX)
    if not LORA_NAME.fullmatch(name) or (colon and not _NUMBER.fullmatch(number)):
        raise ParamError(f"lora = {item!r}: expected {LORA_SYNTAX}")
    strength = float(number) if colon else 1.0
    if abs(strength) > MAX_STRENGTH:
        allowed = f"{-MAX_STRENGTH:g}..{MAX_STRENGTH:g}"
        raise ParamError(f"lora {name}: strength {strength:g}, expected {allowed}")
    return LoraWish(name, strength)
