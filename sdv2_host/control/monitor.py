"""Everything that surfaces do, line by line and with who did it: for `sdv2-host osc monitor`.

The log of the page tells a fault once; who looks for it wants to see it each time, and also what
arrives and changes nothing. Lines are written only while somebody asks for them.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.control.console import Change, Notice
from sdv2_host.param_table import PARAMS

MAX_LINES = 2000
"""Two senders of 1 kHz in a second; who asks more seldom misses some, and sees it by the number."""
LEASE_NS = 5 * NS_PER_S
SHOWN_CHARS = 200


class Line(NamedTuple):
    """One thing that happened."""

    number: int
    """Counts lines, from 1; a gap means that some were missed."""
    at_ns: int
    origin: str
    address: str
    """'' = about no single address."""
    text: str


class Monitor:
    """Fields, per process: the newest lines and their number; until when somebody watches. A
    `Listener`."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=MAX_LINES)
        self._newest = 0
        self._until_ns = 0

    @property
    def newest(self) -> int:
        """Number of the newest line."""
        return self._newest

    def lines(self, after: int) -> list[Line]:
        """Those that are newer, oldest first. Who asks is a watcher for LEASE_NS."""
        now = now_ns()
        if now > self._until_ns:
            self._lines.clear()  # of an earlier watcher
        self._until_ns = now + LEASE_NS
        return [line for line in self._lines if line.number > after]

    def arrived(self, origin: str, address: str, args: tuple[object, ...]) -> None:
        """An OSC message came, whatever becomes of it."""
        if now_ns() < self._until_ns:
            # Shown on a terminal, which obeys what it is shown.
            plain = address if address.isprintable() else repr(address[:SHOWN_CHARS])
            self.add(origin, plain, " ".join(map(_shown, args)))

    def add(self, origin: str, address: str, text: str) -> None:
        """One more line, if somebody watches. Texts of peers must be quoted before."""
        now = now_ns()
        if now < self._until_ns:
            self._newest += 1
            line = Line(self._newest, now, origin, address[:SHOWN_CHARS], text[:SHOWN_CHARS])
            self._lines.append(line)

    def on_change(self, change: Change) -> None:
        for name, value in change.values.items():
            self.add(change.origin, PARAMS[name].address, f"= {_shown(value)}")
        for key, fact in change.facts.items():
            if key != "tempo":
                self.add(change.origin, f"/sdv2/status/{key}", f"= {_shown(fact)}")

    def on_notice(self, notice: Notice) -> None:
        self.add(notice.origin, "", f"{notice.level}: {notice.text}")


def _shown(value: object) -> str:
    """Quoted, and cut first: a blob may be as long as a datagram. A 32-bit 0.1 is 0.1."""
    if isinstance(value, str | bytes):
        return repr(value[:SHOWN_CHARS])
    return repr(round(value, 6) if isinstance(value, float) else value)
