"""What a rank's process is started with, and what it must be able to do."""

# L text tokens  E text width

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

import sdv2_host
from sdv2_host.params import Params
from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.gloo_group import CARRIER
from sdv2_host.stages.messages import Load, Loaded
from sdv2_host.stages.packet import Leaf, LeafShape, Token
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.transport import Transport
from sdv2_host.types import Frame, ProgressFn

BY_AGENT = -1
"""Number of a ticket that no driver gave out."""


class RankLike(Protocol):
    """What this process runs: `sdv2_host.stages.rank.Rank`."""

    @property
    def forward_shape(self) -> LeafShape: ...
    @property
    def back_shape(self) -> LeafShape: ...
    @property
    def encode_ms(self) -> float | None: ...
    @property
    def block_ms(self) -> float | None: ...
    @property
    def decode_ms(self) -> float | None: ...
    @property
    def num_waiting(self) -> int: ...
    def begin(self, epoch: int, place: int, plan: RoutePlan, num_lanes: int) -> None: ...
    def attach(self, transport: Transport) -> None: ...
    def take_frames(self, frames: list[Frame], params: Params, text_id: int) -> None: ...
    def take(self, packet: Leaf | Token) -> None: ...
    def rebalance(self, plan: RoutePlan) -> None: ...
    def add_text(self, text_id: int, embedding_1LE: Tensor) -> None: ...
    def keep_texts(self, text_ids: Collection[int]) -> None: ...


class Built(NamedTuple):
    rank: RankLike
    loaded: Loaded


BuildRank = Callable[[Load, torch.device, Callable[[Pictures], None], ProgressFn], Built]


class Ticket(NamedTuple):
    """What a rank's process is started with."""

    address: tuple[str, int]
    """Of the driver."""
    token: str
    device: str
    build: BuildRank
    number: int = BY_AGENT
    """The driver's, for a process that it started."""
    interface: str = ""
    """Address of this machine for other ranks; '' = by which it reaches the driver."""
    models_dir: str | None = None
    """In place of the driver's; None = the same."""


def version() -> str:
    """Of what ranks must have in common."""
    torch_version = torch.__version__.split("+")[0]
    return f"{sdv2_host.__version__}, torch {torch_version}, links by {CARRIER}"
