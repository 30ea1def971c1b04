"""How packets and tensors get from place to place, whatever carries them.

`LocalTransport` joins places of one process, `GlooTransport` places of several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from sdv2_host.stages.packet import Leaf, Token

OnPacket = Callable[[Leaf | Token], None]
"""Is given what arrives at a place, in the order of its link. It comes on a thread of the
transport or of another place and holds the link up until it returns: it should only put the
packet in a queue."""

Move = tuple[int, Tensor]
"""(place of the peer, tensor)."""


class TransportError(RuntimeError):
    """The transport has failed or is closed: its epoch is over."""


class Transport(Protocol):
    """One place's links in one epoch. `send`, `send_back` and `exchange` are for one thread,
    `close` is for any."""

    def send(self, packet: Leaf | Token) -> None:
        """The packet is on its way to the next place, behind all that were sent before it.

        Its tensors may be written again at once by work that is queued after this call. Blocks
        while the link has as many packets under way as it may have.

        Raises:
            TransportError: failed or closed, before or while it waits.
        """

    def send_back(self, packet: Leaf) -> None:
        """The same from the exit to the entry, in a ring."""

    def exchange(self, sends: Sequence[Move], receives: Sequence[Move]) -> None:
        """Every tensor of `receives` holds what its peer sent, and what was sent has arrived.

        Between two places tensors meet in the order given on both sides, and must have equal
        sizes. Goes beside the links: packets keep their order and their places.

        Raises:
            TransportError: failed or closed, before or while it waits.
        """

    def close(self) -> None:
        """Nothing is sent or received any more, what was under way is lost, and who waits in
        another call is freed by a TransportError. The neighbours see their links fail."""
