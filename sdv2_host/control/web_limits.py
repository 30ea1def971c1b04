"""How much a web client may ask for. Pure, clock given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sdv2_host.clock import NS_PER_S
from sdv2_host.status import WebCounts

Reason = Literal[
    "evil_host",
    "evil_origin",
    "no_token",
    "wrong_token",
    "oversized",
    "flooding",
    "slow",
    "late",
    "too_many",
    "bad_messages",
]
"""Why a client is refused or closed: a field of `WebCounts`."""


def count(counts: WebCounts, reason: Reason) -> None:
    """One more of these."""
    setattr(counts, reason, getattr(counts, reason) + 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Those of one server."""

    max_clients: int = 16
    """WebSocket clients at once."""
    max_connections: int = 48
    """HTTP connections at once where another machine wants one more: the port takes 64, and what
    is left is for programs of this machine, whatever the network does."""
    hello_s: float = 3.0
    """Until the first message, or the first request, or the body of one, is there."""
    slow_s: float = 10.0
    """A client that does not read for so long is closed."""
    heartbeat_s: float = 5.0
    """Between pings; one that is not answered within half of it closes the connection."""
    messages_per_s: float = 200.0
    burst: float = 400.0
    state_period_s: float = 1 / 30
    status_period_s: float = 0.2


LIMITS = Limits()


@dataclass(slots=True)
class MessageBucket:
    """Allows `burst` messages at once and `per_s` in the long run. Fields: what is left, as of
    when."""

    per_s: float
    burst: float
    left: float
    at_ns: int

    def take(self, now_ns: int) -> bool:
        """Whether one more message is fine."""
        gained = (now_ns - self.at_ns) / NS_PER_S * self.per_s
        self.left = min(self.burst, self.left + gained)
        self.at_ns = now_ns
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def give_back(self) -> None:
        """The last message counts for nothing: it was asked for."""
        self.left = min(self.burst, self.left + 1)
