"""Which place of a ring or a chain runs which blocks, as a value that travels between places.

A place is a device's position in the order that a chunk meets the devices in. The first one is the
entry: frames come in there and are encoded. At the last ones pictures are decoded, at each of them
a band. A place may have no block; what comes by is passed on.

Pure: no torch, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from sdv2_host.stages.partition import Partition
from sdv2_host.stages.work import DeviceTimes, Footprint, Route, Split, Work, as_work

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
        ValueError: the cuts are not those of a route of so many steps and blocks, or what comes by
            one of the decoders has not passed every block.
    """

    route: Route
    num_steps: int
    """Of a chain, those its list has; of a ring, whose items hold every step, the most."""
    num_blocks: int
    cuts: tuple[int, ...]
    num_decoders: int = 1
    """The last so many places decode, each a band of the picture, the first of them the top."""
    origin: RoutePlan | None = None
    """Of a chain whose steps have changed, the plan whose shares it keeps. Cuts of cuts would drift
    from them with every change, and memory was planned for none that do."""

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
        if not 1 <= self.num_decoders <= self.num_places:
            raise ValueError(
                f"{self.num_decoders} decoders: expected 1 to {self.num_places}, one a place"
            )
        if self.cuts[-self.num_decoders] != self.num_items:
            raise ValueError(
                f"cuts {self.cuts}, {self.num_decoders} decoders: expected no block behind the "
                f"first of them"
            )

    @property
    def num_items(self) -> int:
        return self.num_blocks * (self.num_steps if self.route is Route.CHAIN else 1)

    @property
    def num_places(self) -> int:
        return len(self.cuts) - 1

    def segment(self, place: int) -> Segment:
        return Segment(self.route, self.num_blocks, self.cuts[place], self.cuts[place + 1])

    def band(self, place: int) -> int | None:
        """Number of the band that is decoded there, from the top; None = none is."""
        band = place - (self.num_places - self.num_decoders)
        return band if band >= 0 else None

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
        origin = self.origin or self
        if self.route is Route.RING or num_steps == origin.num_steps:
            return origin
        total = self.num_blocks * num_steps
        cuts = tuple(round(cut * total / origin.num_items) for cut in origin.cuts)
        return replace(origin, num_steps=num_steps, cuts=cuts, origin=origin)

    def most_bytes(self, footprint: Footprint, num_rows: int) -> tuple[int, ...]:
        """What each place of a chain holds with that of 1 to `num_rows` steps that takes most
        there: a small part of one step may be a whole model of four."""
        plans = [self.with_steps(num_steps) for num_steps in range(1, num_rows + 1)]
        held = zip(*(plan._bytes(footprint) for plan in plans), strict=True)
        return tuple(map(max, held))

    def _bytes(self, footprint: Footprint) -> list[int]:
        timeless = DeviceTimes(0.0, (0.0,) * self.num_blocks, 0.0)
        split = Split(self.num_decoders)
        work = as_work([timeless], self.num_steps, self.route, footprint, split=split)
        return [work.bytes_of(first, last) for first, last in pairwise(self.item_cuts)]

    @property
    def item_cuts(self) -> tuple[int, ...]:
        """The cuts of `Work`'s items: an encoder before the first one, the decoders behind."""
        inner = (cut + 1 for cut in self.cuts[1 : -self.num_decoders])
        bands = (self.num_items + 2 + band for band in range(self.num_decoders))
        return (0, *inner, *bands)

    @classmethod
    def of(cls, partition: Partition, work: Work) -> RoutePlan:
        """Of a partition whose first place encodes and whose last places decode."""
        last = work.num_items - 1 - work.num_decoders
        cuts = tuple(min(max(cut - 1, 0), last) for cut in partition.cuts)
        return cls(work.route, work.num_steps, work.num_blocks, cuts, work.num_decoders)

    def to_json(self) -> dict[str, Any]:
        origin = self.origin or self
        return {
            "route": self.route.value,
            "num_steps": origin.num_steps,
            "num_blocks": self.num_blocks,
            "cuts": list(origin.cuts),
            "num_decoders": self.num_decoders,
            "steps_now": self.num_steps,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RoutePlan:
        """What `to_json` made.

        Raises:
            ValueError: it is not one.
        """
        try:
            names = ("num_steps", "num_blocks", "num_decoders", "steps_now")
            counts = [fields[name] for name in names]
            numbers = [*counts, *fields["cuts"]]
            route = Route(fields["route"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a route plan: {error}") from error
        if not all(type(number) is int for number in numbers):
            raise ValueError(f"not a route plan: {numbers} are not all whole numbers")
        num_steps, num_blocks, num_decoders, steps_now, *cuts = numbers
        return cls(route, num_steps, num_blocks, tuple(cuts), num_decoders).with_steps(steps_now)
