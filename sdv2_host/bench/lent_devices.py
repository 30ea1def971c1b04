"""Devices of another machine that join a stream, and join again when they were lost."""

from __future__ import annotations

import threading
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from sdv2_host.stages.local_ranks import LocalRanks
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.rank_ticket import BuildRank, Ticket

AGAIN_S = 0.3
DEVICE = "cpu"


class Invitation(NamedTuple):
    """Where a stream takes devices in."""

    address: tuple[str, int]
    token: str


def lend(invitations: Connection, count: int, build: BuildRank) -> None:
    """A process on the machine that lends: so many of its devices follow each invitation that
    comes, until the next; None = they are free. Ends with the connection.

    A device is the process that a driver's own devices are. One that ends is started again.
    """
    devices = [_Device(build) for _ in range(count)]
    try:
        while True:
            invitation: Invitation | None = invitations.recv()
            for device in devices:
                device.follow(invitation)
    except EOFError:
        pass
    finally:
        for device in devices:
            device.follow(None)


class _Device:
    """Owns a thread that watches its process, as `LocalRanks` does, and one that starts it again.

    Fields: `_number` of the newest invitation: what ends for an older one is not started again.
    """

    def __init__(self, build: BuildRank) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._number = 0
        self._invitation: Invitation | None = None
        self._process: LocalRanks | None = None

    def follow(self, invitation: Invitation | None) -> None:
        with self._lock:
            self._number += 1
            self._invitation = invitation
            process, self._process = self._process, None
        if process is not None:
            process.close()
        self._start(self._number)

    def _start(self, number: int) -> None:
        with self._lock:
            if number != self._number or self._invitation is None:
                return
            self._process = LocalRanks(run_rank, partial(self._ended, number), has_gpus=False)
            address, token = self._invitation
            self._process.start(Ticket(address, token, DEVICE, self._build))

    def _ended(self, number: int, ticket: int, reason: str) -> None:
        threading.Timer(AGAIN_S, self._start, (number,)).start()
