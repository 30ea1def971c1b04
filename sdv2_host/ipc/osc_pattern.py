"""OSC address patterns: `* ? [a-z] [!x] {one,two}`, segment by segment. Pure.

Time is linear in pattern times address: a pattern is walked once with the set of places in the
text where it may stand. Regular expressions, which python-osc uses, need minutes for 32 bytes.
Source: OSC 1.0 specification, "OSC Message Dispatching and Pattern Matching".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sdv2_host.errors import ProtocolError

PATTERN_MARKS = frozenset("*?[]{}")
MAX_MARKS = 16
"""In one pattern: more than any surface sends."""

_Places = set[int]
_Token = Callable[[str, _Places], _Places]
"""(text, places before the token) -> places after it"""


def is_pattern(address: str) -> bool:
    return not PATTERN_MARKS.isdisjoint(address)


def matching(pattern: str, addresses: Iterable[str]) -> list[str]:
    """The addresses that the pattern matches, in their order.

    Raises:
        ProtocolError: brackets that do not close, or too many marks.
    """
    if sum(char in PATTERN_MARKS for char in pattern) > MAX_MARKS:
        raise ProtocolError(f"pattern with more than {MAX_MARKS} marks")
    segments = [_tokens(segment) for segment in pattern.split("/")]
    return [address for address in addresses if _matches(segments, address.split("/"))]


def _matches(pattern: list[list[_Token]], address: list[str]) -> bool:
    return len(pattern) == len(address) and all(
        _matches_segment(tokens, text) for tokens, text in zip(pattern, address, strict=True)
    )


def _matches_segment(tokens: list[_Token], text: str) -> bool:
    places = {0}
    for token in tokens:
        places = token(text, places)
        if not places:
            return False
    return len(text) in places


def _tokens(segment: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(segment):
        char = segment[at]
        if char == "*":
            tokens.append(_star)
        elif char == "?":
            tokens.append(_any)
        elif char in "[{":
            end = segment.find("]" if char == "[" else "}", at)
            if end < 0:
                raise ProtocolError(f"pattern with a {char!r} that is not closed")
            inside = segment[at + 1 : end]
            tokens.append(_class(inside) if char == "[" else _alternatives(inside))
            at = end
        elif char in "]}":
            raise ProtocolError(f"pattern with a {char!r} that was not opened")
        else:
            tokens.append(_alternatives(char))
        at += 1
    return tokens


def _star(text: str, places: _Places) -> _Places:
    return set(range(min(places), len(text) + 1))


def _any(text: str, places: _Places) -> _Places:
    return {place + 1 for place in places if place < len(text)}


def _class(inside: str) -> _Token:
    is_negated = inside.startswith("!")
    members = inside[1:] if is_negated else inside
    ranges = []
    at = 0
    while at < len(members):
        is_range = at + 2 < len(members) and members[at + 1] == "-"
        ranges.append((members[at], members[at + 2] if is_range else members[at]))
        at += 3 if is_range else 1

    def token(text: str, places: _Places) -> _Places:
        return {
            place + 1
            for place in places
            if place < len(text)
            and any(low <= text[place] <= high for low, high in ranges) != is_negated
        }

    return token


def _alternatives(inside: str) -> _Token:
    words = inside.split(",") if len(inside) > 1 else [inside]

    def token(text: str, places: _Places) -> _Places:
        return {
            place + len(word) for place in places for word in words if text.startswith(word, place)
        }

    return token
