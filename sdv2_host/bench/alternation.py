"""Two ways to the same end, timed turn by turn on one device.

Whatever else the machine does, or its clock rate, falls on both alike; who goes first changes
from pair to pair. A turn is several units of work (chunks, or calls), so that an engine which
works on neighbouring chunks at once is not stopped after each.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import torch

from sdv2_host.bench.device_peaks import wait_for
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.types import ProgressFn

Turn = Callable[[int], None]
"""Does so many units of work; at its return all of it is done, on the device too."""
TURN_S = 1.0
"""At most: five pairs fit into the time there is. An engine whose stages overlap is emptied at the
end of each turn, which short turns would make it pay for."""
MAX_UNITS = 32
MIN_PAIRS = 5


class Pair(NamedTuple):
    """Milliseconds per unit, of neighbouring turns."""

    ours_ms: float
    theirs_ms: float


class Compared(TypedDict):
    """Medians; and how many times as long as ours theirs takes, pair by pair: the median, and the
    middle half of the pairs."""

    ours_ms: float
    theirs_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    pairs: int
    units_per_turn: int


def alternate(
    ours: Turn, theirs: Turn, seconds: float, progress: ProgressFn, what: str
) -> Compared:
    """For about `seconds`, five pairs at least. Both are warm."""
    slower_ms = max(_unit_ms(turn, 1) for turn in (ours, theirs))
    turn_ms = 1000 * min(TURN_S, seconds / MIN_PAIRS / 2)
    units = round(min(max(turn_ms / slower_ms, 1), MAX_UNITS))
    pairs: list[Pair] = []
    began_ns = now_ns()
    elapsed_s = 0.0
    while elapsed_s < seconds or len(pairs) < MIN_PAIRS:
        if len(pairs) % 2:
            theirs_ms = _unit_ms(theirs, units)
            pairs.append(Pair(_unit_ms(ours, units), theirs_ms))
        else:
            pairs.append(Pair(_unit_ms(ours, units), _unit_ms(theirs, units)))
        elapsed_s = (now_ns() - began_ns) / NS_PER_S
        progress(what, min(elapsed_s / seconds, len(pairs) / MIN_PAIRS, 1.0))
    return compared(pairs, units)


def compared(pairs: list[Pair], units_per_turn: int) -> Compared:
    """Medians, ratio and its spread of two pairs or more."""
    ours_ms = statistics.median(pair.ours_ms for pair in pairs)
    theirs_ms = statistics.median(pair.theirs_ms for pair in pairs)
    ratios = [pair.theirs_ms / pair.ours_ms for pair in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Compared(
        ours_ms=ours_ms,
        theirs_ms=theirs_ms,
        ratio=middle,
        ratio_low=low,
        ratio_high=high,
        pairs=len(pairs),
        units_per_turn=units_per_turn,
    )


def turn_of(call: Callable[[], object], device: torch.device) -> Turn:
    """So many calls, one behind the other, then the device is waited for."""

    def turn(num_units: int) -> None:
        for _ in range(num_units):
            call()
        wait_for(device)

    return turn


def _unit_ms(turn: Turn, num_units: int) -> float:
    begin_ns = now_ns()
    turn(num_units)
    return (now_ns() - begin_ns) / NS_PER_MS / num_units
