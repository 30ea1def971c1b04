"""What the service manager that started us is told: systemd's notify protocol, in full without a
library. Datagrams of lines NAME=VALUE to the socket that $NOTIFY_SOCKET names.

Source: man 3 sd_notify, man 3 sd_watchdog_enabled.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

TURN_S = 1.0
"""Between two looks at the status."""
STATUS_CHARS = 400


class ServiceLink:
    """Fields, per process: the socket, which never blocks; how long the manager waits for a sign
    of life, None = it does not; the status told last; whether a datagram was lost already."""

    def __init__(self, sender: socket.socket, address: str, watchdog_s: float | None) -> None:
        """`sender` is a datagram socket, which is taken over; `address` that of the manager."""
        self._address = address
        self._watchdog_s = watchdog_s
        self._socket = sender
        self._socket.setblocking(False)
        self._status = ""
        self._has_failed = False

    async def follow(self, opened: asyncio.Event, status: Callable[[], str]) -> None:
        """Ready once `opened`; from then on the status and, from this very loop, signs of life: a
        loop that is stuck gives none, and is started anew. Until cancelled."""
        await opened.wait()
        self._send("READY=1")
        turn_s = TURN_S if self._watchdog_s is None else min(TURN_S, self._watchdog_s / 3)
        while True:
            text = " ".join(status().split())[:STATUS_CHARS]
            if text != self._status:
                self._status = text
                self._send(f"STATUS={text}")
            if self._watchdog_s is not None:
                self._send("WATCHDOG=1")
            await asyncio.sleep(turn_s)

    async def tell_stopping(self, stopped: asyncio.Event) -> None:
        """It is known that we stop once `stopped` is set."""
        await stopped.wait()
        self._send("STOPPING=1")

    def close(self) -> None:
        """Nothing is told any more."""
        self._socket.close()

    def _send(self, text: str) -> None:
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._has_failed:
                log.warning("the service manager cannot be told %s: %s", text, error)
            self._has_failed = True


def service_link(environ: Mapping[str, str], pid: int) -> ServiceLink | None:
    """The link that the environment of process `pid` names; None: no service manager has started
    us that wants to be told."""
    if sys.platform == "win32":
        return None
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return None
    if address[0] not in "@/":
        log.warning(
            "NOTIFY_SOCKET = %.80r: expected a path or a name with @; nobody is told", address
        )
        return None
    is_for_us = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    micros = environ.get("WATCHDOG_USEC", "") if is_for_us else ""
    watchdog_s = int(micros) / 1e6 if micros.isdecimal() and int(micros) else None
    name = address.replace("@", "\0", 1) if address[0] == "@" else address
    return ServiceLink(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), name, watchdog_s)
