"""The messages about the conversation itself: subscribe, ping, dump and how to answer. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

from sdv2_host import __version__
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.control.osc_dispatch import Answer, Peer
from sdv2_host.control.osc_feedback import DEFAULT_RATE_HZ, Echo, Feedback, Lease, Target
from sdv2_host.control.osc_guests import MAX_PORT, may_send
from sdv2_host.errors import ParamError
from sdv2_host.ipc.osc import OscArgument, OscMessage
from sdv2_host.param_table import ParamValue

ERRORS_PER_S = 10
MAX_SENDERS = 256
"""Ports of subscribers that are remembered; a subscriber is itself forgotten by its lease."""


class OscConversation:
    """A `Conversation`.

    Fields, per process: the feedback; which ports listen for which sender; how many errors were
    sent in this second.
    """

    def __init__(
        self,
        feedback: Feedback,
        clock: Callable[[], int] = now_ns,
        own_port: Callable[[], int] = lambda: 0,
    ) -> None:
        """`own_port`: the one that this host has now."""
        self._feedback = feedback
        self._clock = clock
        self._own_port = own_port
        self._begin_s = time.monotonic()
        self._handlers: dict[str, Callable[[Peer, OscMessage], list[Answer]]] = {
            "/sdv2/subscribe": self._subscribe,
            "/sdv2/unsubscribe": self._unsubscribe,
            "/sdv2/ping": self._ping,
            "/sdv2/dump": self._dump,
            "/sdv2/echo": self._echo,
        }
        self.addresses = frozenset(self._handlers)
        self._listens_at: dict[Peer, set[Peer]] = {}
        self._error_second = 0
        self._errors = 0

    def handle(self, peer: Peer, message: OscMessage) -> list[Answer]:
        return self._handlers[message.address](peer, message)

    def heard(self, peer: Peer, address: str, value: ParamValue) -> None:
        targets = self.targets(peer)
        if targets:
            self._feedback.heard(targets, address, value, self._clock())

    def targets(self, peer: Peer) -> list[Target]:
        """Where the sender hears: where it subscribed to hear, from the port that it sends from.

        Not all of its machine: a fader and a page on one machine are two.
        """
        found = [self._feedback.targets.get(at) for at in self._listens_at.get(peer, {peer})]
        return [target for target in found if target is not None]

    def may_complain(self) -> bool:
        """Whether one more error may be sent this second."""
        second = self._clock() // NS_PER_S
        if second != self._error_second:
            self._error_second, self._errors = second, 0
        self._errors += 1
        return self._errors <= ERRORS_PER_S

    def _subscribe(self, peer: Peer, message: OscMessage) -> list[Answer]:
        """[port] [prefix] [rate]: numbers and a text, the first number being the port."""
        numbers = [n for n in message.args if isinstance(n, int | float)]
        texts = [t for t in message.args if isinstance(t, str)]
        if len(numbers) > 2 or len(texts) > 1 or len(numbers) + len(texts) < len(message.args):
            raise ParamError("/sdv2/subscribe: expected [port] [prefix] [rate in Hz]")
        port = _port(numbers[0], peer) if numbers else peer.port
        rate_hz = float(numbers[1]) if len(numbers) > 1 else DEFAULT_RATE_HZ
        if not rate_hz > 0:
            raise ParamError(f"/sdv2/subscribe: rate {rate_hz}, expected 1..60 Hz")
        prefix = texts[0] if texts else "/sdv2/"
        target = peer._replace(port=port)
        if target.kind == "udp" and port == self._own_port() and may_send(peer.host, ()):
            raise ParamError(
                f"/sdv2/subscribe: port {port} is this host's own; give the one that you listen at"
            )
        lease = Lease.LASTING if peer.kind == "tcp" else Lease.RENEWED
        self._feedback.subscribe(target, prefix, rate_hz, self._clock(), lease)
        self._listens_at.setdefault(peer, set()).add(target)
        if len(self._listens_at) > MAX_SENDERS:
            del self._listens_at[next(iter(self._listens_at))]
        return []

    def _unsubscribe(self, peer: Peer, message: OscMessage) -> list[Answer]:
        port = _port(message.args[0], peer) if message.args else peer.port
        self._feedback.unsubscribe(peer._replace(port=port))
        return []

    def _ping(self, peer: Peer, message: OscMessage) -> list[Answer]:
        token = next((t for t in message.args if isinstance(t, str | int | float)), "")
        return [Answer("/sdv2/pong", (token, __version__, time.monotonic() - self._begin_s))]

    def _dump(self, peer: Peer, message: OscMessage) -> list[Answer]:
        for target in self.targets(peer) or [self._once(peer)]:
            self._feedback.dump(target)
        return []

    def _once(self, peer: Peer) -> Target:
        """For a sender that did not subscribe."""
        self._feedback.subscribe(peer, "/sdv2/", DEFAULT_RATE_HZ, self._clock(), Lease.ONCE)
        return self._feedback.targets[peer]

    def _echo(self, peer: Peer, message: OscMessage) -> list[Answer]:
        word = message.args[0] if message.args else ""
        if word not in list(Echo):
            raise ParamError(f"/sdv2/echo {word!r:.40}, expected {' or '.join(Echo)}")
        targets = self.targets(peer)
        if not targets:
            raise ParamError("/sdv2/echo: subscribe first, with /sdv2/subscribe")
        for target in targets:
            target.echo = Echo(word)
        return []


def _port(value: OscArgument, peer: Peer) -> int:
    """Raises: ParamError."""
    if peer.kind == "tcp":
        return peer.port  # a connection hears on itself
    if not isinstance(value, int | float) or not 1 <= value <= MAX_PORT:
        raise ParamError(f"port {value!r:.40}, expected 1..{MAX_PORT}")
    return int(value)
