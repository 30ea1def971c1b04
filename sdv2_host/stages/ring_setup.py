"""What a ring is made from, and what it is given."""

# L text tokens  E text width

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from torch import Tensor

from sdv2_host.config import Config
from sdv2_host.params import Params
from sdv2_host.stages.members import MemberLimits
from sdv2_host.stages.rank_ticket import BuildRank, Ticket
from sdv2_host.stages.ring_plan import Planner
from sdv2_host.types import Frame


class Joining(NamedTuple):
    """How devices of other machines come in."""

    address: tuple[str, int]
    """To listen on; port 0 = any."""
    token: str
    num_expected: int
    """The first epoch waits for so many..."""
    wait_s: float
    """...but no longer than this."""


@dataclass(frozen=True, slots=True)
class RingSetup:
    """Fixed for the life of a driver."""

    config: Config
    devices: tuple[str, ...]
    """Of this machine, one rank each."""
    run_rank: Callable[[Ticket], None]
    """What a process of a rank runs."""
    build: BuildRank
    plan: Planner
    num_steps: int
    """Of the first chunks."""
    joining: Joining | None = None
    num_replayed: int = 2
    """Chunks of the past that a new ring is fed before what it owes."""
    limits: MemberLimits = field(default_factory=MemberLimits)


class RingText(NamedTuple):
    """A prompt or blend of prompts, under a number of its own."""

    number: int
    embedding_1LE: Tensor


class GivenChunk(NamedTuple):
    frames: list[Frame]
    params: Params
    text: RingText

    def opening(self) -> Self:
        """Its last frame: what a stream can begin with."""
        return self._replace(frames=self.frames[-1:])
