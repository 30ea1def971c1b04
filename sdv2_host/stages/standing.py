"""How a ring is, for metrics and for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sdv2_host import errors
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.stages.messages import Failed
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


class LastWords:
    """What the rank that ended last told before: the error of a ring in which none is left."""

    def __init__(self) -> None:
        self._failure: Failed | None = None
        self._rank: int | None = None

    def fail(self, rank: int, failure: Failed) -> None:
        """That is why the rank is about to end."""
        self._rank, self._failure = rank, failure

    def end(self, rank: int) -> None:
        """The rank has ended; what another one told before is not why."""
        if rank != self._rank:
            self._failure = None

    @property
    def are_ours(self) -> bool:
        """An error that a user or a peer has caused."""
        return self._kind is not None

    def error(self, reason: str) -> HostError:
        """`reason`: why the last rank ended."""
        if self._failure is not None and self._kind is not None:
            return self._kind(self._failure.message)
        return WorkerError(f"no device of the ring is left, the last one {reason}")

    @property
    def _kind(self) -> type[HostError] | None:
        kind = getattr(errors, self._failure.error, None) if self._failure is not None else None
        return kind if isinstance(kind, type) and issubclass(kind, HostError) else None


def shown(plan: RingPlan, facts: Mapping[int, RankFacts]) -> str:
    """Why the ring is as it is, and which device runs which items and decodes which band."""
    stages = [f"{facts[rank].device} {_part(plan, place)}" for place, rank in enumerate(plan.ranks)]
    return f"{plan.says or plan.route.route}; {plan.lanes} lanes; {', '.join(stages)}"


def _part(plan: RingPlan, place: int) -> str:
    route = plan.route
    items = f"{route.cuts[place]}..{route.cuts[place + 1]}"
    band = route.band(place)
    if band is None or route.num_decoders == 1:
        return items
    return f"{items} and band {band + 1} of {route.num_decoders}"
