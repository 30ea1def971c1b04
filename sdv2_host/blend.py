"""Several prompts at once, by weight: as text that a person writes, and as values. Pure.

    "neon city at night"                       one prompt
    "neon city at night:2 | watercolor:1"      two of them, the first with twice the weight

Only a text with a '|' in it is a blend: a colon in a single prompt is a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from sdv2_host.errors import ParamError

MAX_PARTS = 8
BLEND_SYNTAX = (
    "text, or several with their weights such as 'neon city:2 | watercolor:1' (1 where none is "
    f"given; at most {MAX_PARTS})"
)
BlendMode = Literal["linear", "slerp"]
"""How the embeddings of a blend's prompts become one; see `Params.blend_mode`."""
NEGLIGIBLE = 1 / 256
"""Less than one of the levels that a pixel has: such a part is left out."""

_WEIGHTED = re.compile(r"(?P<text>.*):\s*(?P<weight>\d{1,4}(\.\d{0,12})?|\.\d{1,12})\s*", re.DOTALL)


class Part(NamedTuple):
    """One prompt of a blend; `weight` 0..1."""

    text: str
    weight: float


Blend = tuple[Part, ...]
"""Texts that differ, with weights that sum to 1, in the order they were named."""


def parse_blend(text: str) -> Blend:
    """What `text` asks for; equal texts become one part.

    Raises:
        ParamError: too many parts, an empty one, or no weight above 0.
    """
    if "|" not in text:
        return (Part(text, 1.0),)
    items = text.split("|")
    if len(items) > MAX_PARTS:
        raise ParamError(f"prompt has {len(items)} parts, allowed are {MAX_PARTS}")
    parts = [_parse_part(item) for item in items]
    if any(not part.text for part in parts):
        raise ParamError(f"prompt {text[:80]!r}: a part is empty, expected {BLEND_SYNTAX}")
    if not any(part.weight > 0 for part in parts):
        raise ParamError(f"prompt {text[:80]!r}: all weights are 0, give one part more")
    return normalized(parts)


def _parse_part(item: str) -> Part:
    match = _WEIGHTED.fullmatch(item)
    if match is None:
        return Part(item.strip(), 1.0)
    return Part(match["text"].strip(), float(match["weight"]))


def format_blend(parts: Iterable[Part]) -> str:
    """The text that `parse_blend` reads as these parts.

    Raises:
        ParamError: a text has a '|' in it.
    """
    chosen = tuple(parts)
    for part in chosen:
        if "|" in part.text:
            raise ParamError(f"prompt {part.text[:80]!r}: '|' separates prompts, leave it out")
    if len(chosen) == 1:
        return chosen[0].text
    return " | ".join(f"{part.text}:{part.weight:.6g}" for part in chosen)


def mixed(first: Blend, second: Blend, share: float) -> Blend:
    """`first` at share 0, `second` at 1; what hardly counts is left out."""
    weighted = [Part(part.text, part.weight * (1 - share)) for part in first]
    weighted += [Part(part.text, part.weight * share) for part in second]
    return normalized(weighted)


def normalized(parts: Iterable[Part]) -> Blend:
    """Equal texts joined, hardly counting parts left out, weights summing to 1."""
    weights: dict[str, float] = {}
    for part in parts:
        weights[part.text] = weights.get(part.text, 0.0) + part.weight
    total = sum(weights.values())
    assert total > 0, "a blend weighs something"
    kept = {text: w for text, w in weights.items() if w / total >= NEGLIGIBLE}
    total = sum(kept.values())
    return tuple(Part(text, weight / total) for text, weight in kept.items())
