"""Which place of a ring or a chain runs which blocks, as a value that travels between places.

A place is a device's position in the order that a chunk meets the devices in. The first one is the
entry: frames come in there and are encoded. The last one is the exit: pictures are decoded there.
A place may have no block; what comes by is passed on.

Pure: no torch, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sdv2_host.stages.partition import Partition
from sdv2_host.stages.work import Route, Work

MAX_STEPS = 4
MAX_PLACES = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """The items first..last-1 of one place: blocks in a ring, (step, block) pairs in a chain."""

    route: Route
    num_blocks: int
    """Of the model."""
    first: int
    last: int

    def owns(self, step: int, block: int) -> bool:
        """Whether the keys and values of this block at this step live here."""
        return self.first <= self._item(step, block) < self.last

    def end_block(self, step: int, block: int) -> int:
        """One past the last block that runs here, of those from `block` on at this step."""
        here = self.last - self._item(step, block) + block
        return min(self.num_blocks, max(block, here)) if self.owns(step, block) else block

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks whose weights are needed here, ascending."""
        return tuple(sorted({item % self.num_blocks for item in range(self.first, self.last)}))

    def _item(self, step: int, block: int) -> int:
        return block if self.route is Route.RING else step * self.num_blocks + block


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Place p owns the items cuts[p]..cuts[p + 1] - 1.

    Raises:
        ValueError: the cuts are not those of a route of so many steps and blocks.
    """

    route: Route
    num_steps: int
    """Of a chain, those its list has; of a ring, whose items hold every step, the most."""
    num_blocks: int
    cuts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= MAX_STEPS:
            raise ValueError(f"{self.num_steps} steps: expected 1 to {MAX_STEPS}")
        if self.num_blocks < 1:
            raise ValueError(f"{self.num_blocks} blocks: expected at least 1")
        if not 2 <= len(self.cuts) <= MAX_PLACES + 1:
            raise ValueError(f"{len(self.cuts)} cuts: expected 2 to {MAX_PLACES + 1}")
        is_whole = self.cuts[0] == 0 and self.cuts[-1] == self.num_items
        if not is_whole or any(begin > end for begin, end in pairwise(self.cuts)):
            raise ValueError(f"cuts {self.cuts}: expected 0 to {self.num_items}, ascending")

    @property
    def num_items(self) -> int:
        return self.num_blocks * (self.num_steps if self.route is Route.CHAIN else 1)

    @property
    def num_places(self) -> int:
        return len(self.cuts) - 1

    def segment(self, place: int) -> Segment:
        return Segment(self.route, self.num_blocks, self.cuts[place], self.cuts[place + 1])

    def owner(self, step: int, block: int) -> int:
        """The place where this block's keys and values of this step live."""
        return next(p for p in range(self.num_places) if self.segment(p).owns(step, block))

    @classmethod
    def even(cls, route: Route, num_steps: int, num_blocks: int, num_places: int) -> RoutePlan:
        """As many items for each place, but for the remainder."""
        total = num_blocks * (num_steps if route is Route.CHAIN else 1)
        cuts = tuple(total * place // num_places for place in range(num_places + 1))
        return cls(route, num_steps, num_blocks, cuts)

    def with_steps(self, num_steps: int) -> RoutePlan:
        """The same shares of a chain of another number of steps; a ring stays as it is."""
        if self.route is Route.RING:
            return self
        total = self.num_blocks * num_steps
        cuts = tuple(round(cut * total / self.num_items) for cut in self.cuts)
        return RoutePlan(self.route, num_steps, self.num_blocks, cuts)

    @classmethod
    def of(cls, partition: Partition, work: Work) -> RoutePlan:
        """Of a partition whose first place encodes and whose last decodes."""
        last = work.num_items - 2
        cuts = [min(max(cut - 1, 0), last) for cut in partition.cuts]
        return cls(work.route, work.num_steps, work.num_blocks, tuple(cuts))

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route.value,
            "num_steps": self.num_steps,
            "num_blocks": self.num_blocks,
            "cuts": list(self.cuts),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RoutePlan:
        """What `to_json` made.

        Raises:
            ValueError: it is not one.
        """
        try:
            numbers = [fields["num_steps"], fields["num_blocks"], *fields["cuts"]]
            route = Route(fields["route"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a route plan: {error}") from error
        if not all(type(number) is int for number in numbers):
            raise ValueError(f"not a route plan: {numbers} are not all whole numbers")
        return cls(route, numbers[0], numbers[1], tuple(numbers[2:]))
