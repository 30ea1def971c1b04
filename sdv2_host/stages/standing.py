"""How a ring is, for metrics and for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sdv2_host.stages.ring_plan import RankFacts, RingPlan


class Standing(NamedTuple):
    """Any thread may look at it."""

    num_devices: int = 0
    """At work in the newest epoch."""
    epoch: int = 0
    num_lost: int = 0
    """Ranks that were lost since the start."""
    trouble: str = ""
    """What is not as started, and what comes of it; '' = all devices are there."""
    says: str = ""
    """Why which device runs what."""


class _Loss(NamedTuple):
    rank: int
    reason: str


class Losses:
    """Devices, by name, that are not there as started. Lifetime: an engine."""

    def __init__(self) -> None:
        self._gone: dict[str, _Loss] = {}
        self._left_out: dict[str, str] = {}
        self.num_lost = 0

    def lose(self, name: str, rank: int, reason: str) -> None:
        self._gone[name] = _Loss(rank, reason)
        self.num_lost += 1

    def explain(self, name: str, rank: int, reason: str) -> None:
        """Why it was lost is known better now, if it is still gone."""
        if name in self._gone and self._gone[name].rank == rank:
            self._gone[name] = _Loss(rank, reason)

    def leave_out(self, name: str, reason: str) -> None:
        """It will not be back."""
        self._gone.pop(name, None)
        self._left_out[name] = reason

    def take_back(self, names: Iterable[str]) -> None:
        for name in names:
            self._gone.pop(name, None)

    def text(self, num_devices: int) -> str:
        """For a person; '' = there are none."""
        rest = "1 device" if num_devices == 1 else f"{num_devices} devices"
        gone = [
            f"{name} is lost, it {loss.reason}: the stream goes on over {rest} and takes it back "
            "when it is ready again"
            for name, loss in self._gone.items()
        ]
        left_out = [
            f"{name} is left out, it {reason}: the stream goes on over {rest}; restart the engine "
            "to try it once more"
            for name, reason in self._left_out.items()
        ]
        return "; ".join([*gone, *left_out])


def shown(plan: RingPlan, facts: Mapping[int, RankFacts]) -> str:
    """Why the ring is as it is, and which device runs which items."""
    cuts = plan.route.cuts
    stages = [
        f"{facts[rank].device} {cuts[place]}..{cuts[place + 1]}"
        for place, rank in enumerate(plan.ranks)
    ]
    return f"{plan.says or plan.route.route}; {plan.lanes} lanes; {', '.join(stages)}"
