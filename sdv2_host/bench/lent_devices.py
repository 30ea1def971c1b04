"""Devices of another machine that join a stream, and join again when they were lost.

What `sdv2-host agent` is for one stream and Wan's models, for stream after stream and any models.
"""

from __future__ import annotations

import threading
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
    build: BuildRank


def lend(invitations: Connection, count: int) -> None:
    """A process on the machine that lends: so many devices follow each invitation that comes,
    until the next; None = they are free. Ends with the connection."""
    loan: _Loan | None = None
    try:
        while True:
            invitation: Invitation | None = invitations.recv()
            if loan is not None:
                loan.end()
            loan = None if invitation is None else _Loan(invitation, count)
    except EOFError:
        pass
    finally:
        if loan is not None:
            loan.end()


class _Loan:
    """Processes as those of a driver's own devices; one that ends is started again."""

    def __init__(self, invitation: Invitation, count: int) -> None:
        self._ticket = Ticket(invitation.address, invitation.token, DEVICE, invitation.build)
        self._lock = threading.Lock()
        self._is_over = False
        self._processes = LocalRanks(run_rank, self._ended, has_gpus=False)
        for number in range(count):
            self._start(number)

    def end(self) -> None:
        with self._lock:
            self._is_over = True
        self._processes.close()

    def _start(self, number: int) -> None:
        with self._lock:
            if not self._is_over:
                self._processes.start(number, self._ticket)

    def _ended(self, number: int, reason: str) -> None:
        timer = threading.Timer(AGAIN_S, self._start, (number,))
        timer.daemon = True
        timer.start()
