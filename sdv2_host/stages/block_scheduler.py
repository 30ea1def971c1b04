"""BlockScheduler: from what the places of a running route report, when its blocks move and where.

Source: StreamDiffusionV2, section 4.2 "DiT block scheduler". The reference balances once, after
its first chunks; here it goes on for as long as the stream does. What a move must show is
`balance.plan_moves`'.

Pure: no torch, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sdv2_host.stages.balance import Balance, Rules, Slowness, plan_moves
from sdv2_host.stages.partition import Partition
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import (
    UNCOUNTED,
    DeviceTimes,
    Footprint,
    Route,
    Split,
    Work,
    as_work,
)

ELSEWHERE_MS = 1e9
"""Of encoding at any place but the first, and of decoding at any but the last ones: they stay."""


class PlaceTimes(NamedTuple):
    """What a place measures, smoothed; 0 = not yet, or it has none of it."""

    encode_ms: float
    block_ms: float
    """One block for one row."""
    decode_ms: float
    """Of what is decoded there: where there are several decoders, a band."""
    row_saving: float = 0.0
    """Of a further row in the same call, where `block_ms` was measured with one."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of the places, in their order."""

    footprint: Footprint = UNCOUNTED
    room_bytes: tuple[int, ...] = ()
    """() = enough."""
    num_rows: int = 1
    """Most steps that chunks may have."""


UNLIMITED = Room()
RULES = Rules()


class Decision(NamedTuple):
    plan: RoutePlan
    says: str
    """One line for a person."""


class BlockScheduler:
    """Lifetime: an epoch. The order of the places stays."""

    def __init__(
        self,
        plan: RoutePlan,
        first: Sequence[PlaceTimes],
        move_ms: float,
        room: Room = UNLIMITED,
        rules: Rules = RULES,
    ) -> None:
        """`first`: what was measured before the stream began, by place. `move_ms`: what the
        stream stands still for each block that moves."""
        assert len(first) == plan.num_places, f"{len(first)} times for {plan.num_places} places"
        self._first = tuple(first)
        self._move_ms = move_ms
        self._room = room
        self._rules = rules
        self._slowness = Slowness.of_devices([1.0] * plan.num_places)
        self._balance = Balance(_partition(plan))
        self.plan = plan
        self.num_steps = plan.num_steps

    def see(self, place: int, times: PlaceTimes) -> None:
        """What a place reports now; once a second or so."""
        first = self._first[place]
        first = first._replace(block_ms=first.block_ms * self._share_of_row(first))
        now_ms, first_ms = self._stage_ms(place, times, first), self._stage_ms(place, first, times)
        if now_ms > 0 and first_ms > 0:
            self._slowness = self._slowness.observed(place, now_ms / first_ms, self._rules)

    def changed(self, num_steps: int) -> None:
        """Chunks have so many steps now. Of a chain the entry has made a new cut on its own."""
        self.num_steps = num_steps
        self.plan = self.plan.with_steps(num_steps)
        self._balance = replace(self._balance, partition=_partition(self.plan), evidence=0.0)

    def decide(self, now_s: float) -> Decision | None:
        """A plan that is better by more than noise, if there is one. Once a second or so."""
        before, work = self.plan, self._work()
        verdict = plan_moves(self._balance, work, now_s, self._move_ms, self._rules)
        plan = replace(RoutePlan.of(verdict.balance.partition, work), num_steps=before.num_steps)
        if verdict.moves and not self._has_room(plan):
            self._balance = replace(self._balance, evidence=0.0)
            return None
        self._balance = verdict.balance
        if not verdict.moves or plan == before:
            return None
        self.plan = plan
        return Decision(plan, verdict.says)

    def _has_room(self, plan: RoutePlan) -> bool:
        """For whatever number of steps comes next: the entry then cuts a chain by these shares. One
        that was asked for although that was short may stay so."""
        room = self._room
        if plan.route is Route.RING or not room.room_bytes:
            return True
        held, before = (one.most_bytes(room.footprint, room.num_rows) for one in (plan, self.plan))
        return all(map(_is_enough, room.room_bytes, held, before))

    def _stage_ms(self, place: int, times: PlaceTimes, others: PlaceTimes) -> float:
        """Of a chunk by `times`, as far as `others` know it too."""
        segment = self.plan.segment(place)
        num_rows = (segment.last - segment.first) * self._rows_of_call
        parts = (
            (times.encode_ms, others.encode_ms, 1 if place == 0 else 0),
            (times.block_ms, others.block_ms, num_rows),
            (times.decode_ms, others.decode_ms, 0 if self.plan.band(place) is None else 1),
        )
        return sum(one_ms * count for one_ms, other_ms, count in parts if one_ms and other_ms)

    @property
    def _rows_of_call(self) -> int:
        return self.num_steps if self.plan.route is Route.RING else 1

    def _share_of_row(self, times: PlaceTimes) -> float:
        """What a row of a call takes, of one that is alone in its call."""
        rows = self._rows_of_call
        return (1 + (rows - 1) * (1 - times.row_saving)) / rows

    def _work(self) -> Work:
        """As it is now, with the ends nailed to their places."""
        plan = self.plan
        devices = [
            DeviceTimes(
                times.encode_ms if place == 0 else ELSEWHERE_MS,
                (times.block_ms,) * plan.num_blocks,
                ELSEWHERE_MS if plan.band(place) is None else times.decode_ms,
                times.row_saving,
            )
            for place, times in enumerate(self._first)
        ]
        footprint, room_bytes = self._room.footprint, self._room.room_bytes
        if plan.route is Route.RING:
            footprint = footprint.with_rows(plan.num_steps, self.num_steps)
        split = Split(plan.num_decoders)
        work = as_work(devices, self.num_steps, plan.route, footprint, room_bytes, split)
        return self._slowness.of(work)


def _is_enough(room_bytes: int, held: int, before: int) -> bool:
    return held <= max(room_bytes, before)


def _partition(plan: RoutePlan) -> Partition:
    return Partition(tuple(range(plan.num_places)), plan.item_cuts)
