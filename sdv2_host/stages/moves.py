"""What keys and values go where when the route changes.

Pure: no torch.
"""

from __future__ import annotations

from typing import NamedTuple

from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route


class Held(NamedTuple):
    """Keys and values that move as one: of a block, and in a chain of one of its steps."""

    step: int
    """In a ring 0: all steps of a block are in one place."""
    block: int


class Move(NamedTuple):
    """`source` of the old plan becomes `target` of the new one."""

    source: Held
    from_place: int
    target: Held
    to_place: int

    @property
    def is_local(self) -> bool:
        return self.from_place == self.to_place


def moves(old: RoutePlan, new: RoutePlan) -> list[Move]:
    """Everything that the new plan holds, and where it comes from; every place gets the same list,
    in the same order.

    A chain that gets more steps: their keys and values go on from those of the last step so far,
    as `RollingKVCache.change_steps_` does it.
    """
    assert old.route is new.route, f"a {old.route} does not become a {new.route}"
    assert old.num_blocks == new.num_blocks, f"{old.num_blocks} blocks became {new.num_blocks}"
    num_steps = new.num_steps if new.route is Route.CHAIN else 1
    result = []
    for step in range(num_steps):
        before = min(step, old.num_steps - 1)
        for block in range(new.num_blocks):
            source, target = Held(before, block), Held(step, block)
            from_place, to_place = old.owner(*source), new.owner(*target)
            result.append(Move(source, from_place, target, to_place))
    return result
