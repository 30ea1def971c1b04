"""When to move blocks between devices: smoothed times, and a plan that must prove itself.

A device that gets hot, or shares its card with a render, takes longer for the same blocks. Moving
blocks costs: their keys and values travel, and the stream stands still meanwhile. So a better
partition is made only when plans in a row show that it is better by more than noise, not soon
after the last move, and when it earns more than it costs.

Pure: no torch, no clock; the caller measures and says when it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from sdv2_host.stages.partition import Partition, best_cuts
from sdv2_host.stages.work import Work


@dataclass(frozen=True, slots=True)
class Rules:
    """What a move must show."""

    smoothing: float = 0.03
    """Of a new measurement against those before..."""
    jump_smoothing: float = 0.3
    """...and of a second, quicker average..."""
    jump: float = 0.15
    """...which is believed where it differs by so much: a device that throttles does it at once."""
    min_gain: float = 0.05
    """Relative, of the slowest stage."""
    evidence: float = 0.2
    """Gains of plans in a row, added up, that a move is made for: two plans that promise a tenth,
    or four that promise a twentieth..."""
    cooldown_s: float = 15.0
    """...and so long after the last one."""
    horizon_s: float = 30.0
    """A move must earn its stall within this time."""


@dataclass(frozen=True, slots=True)
class Slowness:
    """How many times as long as first measured each device takes now. Lifetime: an epoch.

    Per device and not per block: a device slows down as a whole, and forty noisy numbers say less
    than their sum.
    """

    factors: tuple[float, ...]
    quick: tuple[float, ...]
    """The same, smoothed less."""

    @classmethod
    def of_devices(cls, factors: Sequence[float]) -> Slowness:
        return cls(tuple(factors), tuple(factors))

    def observed(self, device: int, ratio: float, rules: Rules) -> Slowness:
        """After a stage of this device took `ratio` times what was first measured for its items."""
        slow, quick = self.factors[device], self.quick[device]
        slow += rules.smoothing * (ratio - slow)
        quick += rules.jump_smoothing * (ratio - quick)
        if abs(quick - slow) > rules.jump * slow:
            slow = quick
        return Slowness(_with(self.factors, device, slow), _with(self.quick, device, quick))

    def of(self, work: Work) -> Work:
        """The work as it is now."""
        costs = zip(work.cost_ms, self.factors, strict=True)
        return replace(work, cost_ms=tuple(tuple(ms * by for ms in one) for one, by in costs))


def _with(values: tuple[float, ...], index: int, value: float) -> tuple[float, ...]:
    return (*values[:index], value, *values[index + 1 :])


class Move(NamedTuple):
    """A range of items that changes its device."""

    items: range
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the items are, and since when they had better be elsewhere. Lifetime: an epoch."""

    partition: Partition
    evidence: float = 0.0
    """Gains of the plans in a row that wished for a move, added up."""
    moved_s: float = float("-inf")
    """When the last move was made."""


class Verdict(NamedTuple):
    balance: Balance
    moves: tuple[Move, ...]
    """() = everything stays where it is."""
    says: str
    """One line for a person; '' = nothing was done."""


def plan_moves(
    balance: Balance, work: Work, now_s: float, move_ms: float, rules: Rules = Rules()
) -> Verdict:
    """Whether blocks move now. The order of the devices stays: it would move everything.

    `work` is as it is now (`Slowness.of`); `move_ms` what the stream stands still for each item.
    """
    before = balance.partition
    better = best_cuts(work, before.order)
    if better is None or better.cuts == before.cuts:
        return Verdict(replace(balance, evidence=0.0), (), "")
    slow_ms, fast_ms = before.slowest_ms(work), better.slowest_ms(work)
    moves = moves_between(before, better)
    stall_s = move_ms / 1000 * sum(len(move.items) for move in moves)
    gain = 1 - fast_ms / slow_ms
    is_worth = gain > rules.min_gain and gain * rules.horizon_s > stall_s
    evidence = balance.evidence + gain if is_worth else 0.0
    if evidence < rules.evidence or now_s - balance.moved_s < rules.cooldown_s:
        return Verdict(replace(balance, evidence=evidence), (), "")
    says = (
        f"{sum(len(move.items) for move in moves)} blocks moved: slowest stage "
        f"{slow_ms:.1f} ms, now {fast_ms:.1f} ms"
    )
    return Verdict(Balance(better, 0.0, now_s), moves, says)


def moves_between(before: Partition, after: Partition) -> tuple[Move, ...]:
    """What changes its device, in the order of the items. Both have the same order of devices.

    Raises:
        ValueError: they have not.
    """
    if before.order != after.order:
        raise ValueError(f"devices {before.order} and {after.order} are in different orders")
    edges = sorted({*before.cuts, *after.cuts})
    moves = []
    for begin, end in pairwise(edges):
        source, target = _owner(before, begin), _owner(after, begin)
        if source != target:
            moves.append(Move(range(begin, end), source, target))
    return tuple(moves)


def _owner(partition: Partition, item: int) -> int:
    places: Sequence[int] = range(len(partition.order))
    place = next(place for place in places if item in partition.items_of(place))
    return partition.order[place]
