"""From the parameters that were asked for to those on air: gradual changes. Pure, clock given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sdv2_host.blend import Blend, mixed
from sdv2_host.clock import NS_PER_S
from sdv2_host.param_table import PARAMS
from sdv2_host.params import Params, prompts_of

PROMPT_NAMES = frozenset(("prompt", "prompt_b", "crossfade"))
"""They fade together, as one blend of prompts: weights move, no text is in between."""


class Duration(NamedTuple):
    """How long a change takes; seconds or chunks, 0 = at once."""

    amount: float = 0.0
    in_chunks: bool = False


AT_ONCE = Duration()


@dataclass(frozen=True, slots=True)
class _Move:
    """A change on its way. `begin` and `length` in ns, or in chunks."""

    start: float | Blend
    begin: float
    length: float
    in_chunks: bool

    def share(self, now_ns: int, chunks: int) -> float:
        now = chunks if self.in_chunks else now_ns
        return min(1.0, max(0.0, (now - self.begin) / self.length))


@dataclass(slots=True)
class Fader:
    """What is on air. Fields, per process: the `target` and the moves that are not there yet.

    A move that is turned to another target goes on from where it stands; nothing jumps.
    """

    target: Params
    _moves: dict[str, _Move] = field(default_factory=dict)
    """By parameter name; the prompts' move is under 'prompt'."""

    @property
    def is_moving(self) -> bool:
        return bool(self._moves)

    def go(self, target: Params, times: Mapping[str, Duration], now_ns: int, chunks: int) -> None:
        """From now on to `target`, in which the parameters named differ; `chunks` styled so far.

        What cannot fade changes at once.
        """
        on_air = self.at(now_ns, chunks)
        self.target = target
        times = dict(times)
        if times.keys() & PROMPT_NAMES == {"crossfade"} and not times["crossfade"].amount:
            del times["crossfade"]  # by hand, during a transition: which goes on
        for name, time in times.items():
            key = "prompt" if name in PROMPT_NAMES else name
            self._moves.pop(key, None)
            if time.amount > 0 and PARAMS[key].can_fade:
                length = time.amount if time.in_chunks else time.amount * NS_PER_S
                begin = chunks if time.in_chunks else now_ns
                start = prompts_of(on_air) if key == "prompt" else float(getattr(on_air, key))
                self._moves[key] = _Move(start, begin, length, time.in_chunks)

    def at(self, now_ns: int, chunks: int) -> Params:
        """The parameters on air at this time; moves that have arrived are over."""
        changed: dict[str, object] = {}
        for key, move in list(self._moves.items()):
            share = move.share(now_ns, chunks)
            if share >= 1:
                del self._moves[key]
            elif isinstance(move.start, tuple):
                changed["blend"] = mixed(move.start, prompts_of(self.target), share)
            else:
                goal = float(getattr(self.target, key))
                changed[key] = move.start + (goal - move.start) * share
        return self.target.model_copy(update=changed) if changed else self.target
