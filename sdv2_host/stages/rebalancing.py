"""Rebalancing: whether blocks of an epoch's ring should move, by what its ranks' pulses say."""

from __future__ import annotations

from collections.abc import Mapping

from sdv2_host.clock import NS_PER_S
from sdv2_host.stages.block_scheduler import BlockScheduler, Decision, PlaceTimes
from sdv2_host.stages.messages import Loaded, Pulse
from sdv2_host.stages.ring_plan import RankFacts, RingPlan
from sdv2_host.stages.route import RoutePlan

MOVE_MS = 30.0
"""That the stream stands still for each block that moves: keys and values of one of Wan 1.3B's over
PCIe and back, twice over."""
LOOK_NS = NS_PER_S


class Rebalancing:
    """Lifetime: a group. Of one rank, or where one has measured nothing, it never decides."""

    def __init__(self, plan: RingPlan, facts: Mapping[int, RankFacts], now: int) -> None:
        self._places = {rank: place for place, rank in enumerate(plan.ranks)}
        first = [_times(facts[rank].loaded) for rank in plan.ranks]
        self._scheduler = BlockScheduler(plan.route, first, MOVE_MS, plan.room)
        self._can_decide = len(first) > 1 and all(times.block_ms > 0 for times in first)
        self._next_look_ns = now + LOOK_NS
        self._seen: dict[int, PlaceTimes] = {}

    def see(self, rank: int, pulse: Pulse) -> None:
        if rank in self._places:
            self._seen[self._places[rank]] = _times(pulse)

    def decide(self, now: int) -> Decision | None:
        """A better plan, if there is one; looked for once a second."""
        if now < self._next_look_ns or not self._can_decide:
            return None
        self._next_look_ns = now + LOOK_NS
        for place, times in self._seen.items():
            self._scheduler.see(place, times)
        return self._scheduler.decide(now / NS_PER_S)

    def follow(self, plan: RoutePlan) -> None:
        """The entry cuts a chain anew where the number of steps changes."""
        if plan != self._scheduler.plan:
            self._scheduler.changed(plan)


def _times(told: Loaded | Pulse) -> PlaceTimes:
    return PlaceTimes(told.encode_ms, told.block_ms, told.decode_ms)
