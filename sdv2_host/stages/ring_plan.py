"""Which rank stands where in an epoch's ring and runs what, and how much may be under way in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdv2_host.config import Config
from sdv2_host.stages.messages import Loaded
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route


class RankFacts(NamedTuple):
    """What is known of a rank that is ready."""

    rank: int
    device: str
    machine: str
    loaded: Loaded


class RingPlan(NamedTuple):
    ranks: tuple[int, ...]
    """In the order of the places."""
    route: RoutePlan
    lanes: int
    """Calls on their way at once, in a ring."""

    def most_in_flight(self, num_steps: int) -> int:
        """Chunks of so many steps that keep every device at work, and no more than that."""
        calls = self.lanes * num_steps if self.route.route is Route.RING else self.lanes
        return calls + len(self.ranks)


Planner = Callable[[Sequence[RankFacts], int], RingPlan]
"""(who is there, denoising steps).

Raises:
    HostError: they cannot hold the model.
"""


def num_lanes(config: Config, num_places: int, num_machines: int) -> int:
    """As many as there are places; over a network one more, which hides the way."""
    return config.lanes or num_places + (num_machines > 1)
