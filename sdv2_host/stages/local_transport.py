"""A transport between places of one process: for tests, and for a ring of one place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from torch import Tensor

from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.transport import Move, OnPacket, TransportError
from sdv2_host.stages.work import Route


class LocalTransport:
    """One place of `local_transports`. Packets arrive on the thread of the sender, copied."""

    def __init__(
        self, place: int, route: Route, on_packet: Sequence[OnPacket], mail: LocalMail
    ) -> None:
        self._place = place
        self._route = route
        self._on_packet = on_packet
        self._mail = mail

    def send(self, packet: Leaf | Token) -> None:
        assert self._place + 1 < len(self._on_packet), "the exit has no next place"
        self._deliver(packet, self._place + 1)

    def send_back(self, packet: Leaf) -> None:
        assert self._route is Route.RING, "a chain has no way back"
        assert self._place == len(self._on_packet) - 1, "only the exit sends back"
        self._deliver(packet, 0)

    def exchange(self, sends: Sequence[Move], receives: Sequence[Move]) -> None:
        """Blocks until the peers, which must be on other threads, have sent theirs."""
        for peer, tensor in sends:
            self._mail.put(self._place, peer, tensor.clone())
        for peer, tensor in receives:
            tensor.copy_(self._mail.take(peer, self._place))

    def close(self) -> None:
        self._mail.close(self._place)

    def _deliver(self, packet: Leaf | Token, place: int) -> None:
        self._mail.check_open(self._place)
        self._mail.check_open(place)
        self._on_packet[place](_copied(packet))


class LocalMail:
    """Tensors on their way between places, and which of these are closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._letters: dict[tuple[int, int], deque[Tensor]] = {}
        self._closed: set[int] = set()

    def put(self, sender: int, receiver: int, tensor: Tensor) -> None:
        with self._changed:
            self._check(sender, receiver)
            self._letters.setdefault((sender, receiver), deque()).append(tensor)
            self._changed.notify_all()

    def take(self, sender: int, receiver: int) -> Tensor:
        """The oldest; waits for it."""
        with self._changed:
            while not self._letters.get((sender, receiver)):
                self._check(sender, receiver)
                self._changed.wait()
            return self._letters[sender, receiver].popleft()

    def check_open(self, place: int) -> None:
        """
        Raises:
            TransportError: the place is closed.
        """
        with self._changed:
            self._check(place)

    def close(self, place: int) -> None:
        with self._changed:
            self._closed.add(place)
            self._changed.notify_all()

    def _check(self, *places: int) -> None:
        closed = self._closed.intersection(places)
        if closed:
            raise TransportError(f"place {min(closed)} is closed")


def local_transports(
    num_places: int, route: Route, on_packet: Sequence[OnPacket]
) -> list[LocalTransport]:
    """One for each place, in order, whose packets come by the place's `on_packet`.

    In a ring of one place `send_back` leads to itself.
    """
    assert len(on_packet) == num_places, f"{len(on_packet)} takers for {num_places} places"
    mail = LocalMail()
    return [LocalTransport(place, route, on_packet, mail) for place in range(num_places)]


def _copied(packet: Leaf | Token) -> Leaf | Token:
    if isinstance(packet, Token):
        return packet
    tokens_SE = packet.tokens_SE
    return Leaf(
        packet.header,
        packet.scalars.clone(),
        packet.x_CHW.clone(),
        tokens_SE.clone() if tokens_SE is not None else None,
    )
