"""RingBalance: what the ranks of an epoch report of their times goes in, re-balances come out."""

from __future__ import annotations

from sdv2_host.clock import NS_PER_S
from sdv2_host.stages.block_scheduler import BlockScheduler, Decision, PlaceTimes
from sdv2_host.stages.messages import Pulse
from sdv2_host.stages.ring_plan import RingPlan

INTERVAL_NS = NS_PER_S


class RingBalance:
    """Lifetime: a plan of an epoch. Without measured times nothing is ever moved.

    No clock: times of day are `clock.now_ns`, and come with the call.
    """

    def __init__(self, plan: RingPlan) -> None:
        self._ranks = plan.ranks
        self._pulses: dict[int, Pulse] = {}
        self._next_ns: int | None = None
        self._scheduler: BlockScheduler | None = None
        if plan.times and plan.route.num_places > 1:
            self._scheduler = BlockScheduler(plan.route, plan.times, plan.move_ms, plan.room)

    def heard(self, rank: int, pulse: Pulse, num_steps: int, now_ns: int) -> Decision | None:
        """A rank's times. What is to be moved, if anything, once a second at most; `num_steps` is
        that of the newest chunk."""
        scheduler = self._scheduler
        if scheduler is None or rank not in self._ranks:
            return None
        if num_steps != scheduler.num_steps:  # at once: the entry makes every cut after the last
            scheduler.changed(num_steps)
        self._pulses[rank] = pulse
        self._next_ns = now_ns + INTERVAL_NS if self._next_ns is None else self._next_ns
        if now_ns < self._next_ns:
            return None
        self._next_ns = now_ns + INTERVAL_NS
        for one, newest in self._pulses.items():
            times = PlaceTimes(newest.encode_ms, newest.block_ms, newest.decode_ms)
            scheduler.see(self._ranks.index(one), times)
        self._pulses.clear()
        return scheduler.decide(now_ns / NS_PER_S)
