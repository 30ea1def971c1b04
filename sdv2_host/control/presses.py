"""When a button was pressed, told from the levels that it sends. Pure, clock given.

1 0 1 0              a button that tells its release as well
1      1             one that does not (Stream Deck, Companion, QLab): each is a press
1 1 1 1 1 1 0        a channel that is sent again and again while it is held: one press
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S

REPEAT_NS = NS_PER_S // 5
"""A level that comes again sooner is still held. Channels come at 10 to 60 Hz; taps at 300 bpm are
0.2 s apart, and a second GO counts after 0.25 s."""
STREAM_NS = NS_PER_S // 2
"""A level that was held for so long comes from a channel. Its gaps are its sender's hiccups."""
MAX_LEVELS = 256


class _Held(NamedTuple):
    begin_ns: int
    newest_ns: int


@dataclass(slots=True)
class Presses:
    """Fields, per process: the levels that are high, by who sends them; the oldest is forgotten."""

    _held: dict[Hashable, _Held] = field(default_factory=dict)

    def is_press(self, key: Hashable, is_high: bool, now: int) -> bool:
        """Whether this level of `key` is a new press."""
        held = self._held.pop(key, None)
        if not is_high:
            return False
        is_held = held is not None and (
            now - held.newest_ns < REPEAT_NS or held.newest_ns - held.begin_ns >= STREAM_NS
        )
        self._held[key] = _Held(held.begin_ns if held is not None and is_held else now, now)
        if len(self._held) > MAX_LEVELS:
            del self._held[next(iter(self._held))]
        return not is_held

    def __len__(self) -> int:
        return len(self._held)
