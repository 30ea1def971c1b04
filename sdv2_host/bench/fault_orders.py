"""How a bench tells a host and its worker what shall go wrong: small files in a folder of its own.

Files, because worker after worker is started by the daemon, which knows nothing of this.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S

_ORDER, _CLOCK = "order", "clock"
EXIT_CODE = 77


class Failure(StrEnum):
    """What an engine does once, when it is told to."""

    RAISE = "raise"
    HANG = "hang"
    EXIT = "exit"
    NAN = "nan"
    OUT_OF_MEMORY = "oom"


class Order(NamedTuple):
    failure: Failure
    where: str
    """The call in which it happens: encode, predict or decode; step for engines without them."""


class Orders:
    """A folder with at most one order, which the first worker that comes to it takes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def give(self, order: Order) -> None:
        """The next call of that name fails."""
        _write(self._folder / _ORDER, f"{order.failure} {order.where}")

    def take(self, where: str) -> Failure | None:
        """What shall happen in this call, None = nothing; happens once."""
        path = self._folder / _ORDER
        try:
            failure, wanted = path.read_text().split()
        except FileNotFoundError:
            return None
        if wanted != where:
            return None
        path.unlink()
        return Failure(failure)

    def set_clock(self, offset_s: float) -> None:
        """The wall clock of all processes that follow it is so far off from now on."""
        _write(self._folder / _CLOCK, str(offset_s))

    def follow_clock(self) -> None:
        """The wall clock that this process reads jumps when it is told to.

        A stand-in: to set the machine's own clock is no bench's business, and no namespace has a
        wall clock of its own. What C code and the kernel read is not moved.
        """
        true_s, true_ns = time.time, time.time_ns
        path = self._folder / _CLOCK

        def offset_s() -> float:
            try:
                return float(path.read_text())
            except FileNotFoundError:
                return 0.0

        time.time = lambda: true_s() + offset_s()
        time.time_ns = lambda: true_ns() + round(offset_s() * NS_PER_S)


def end_or_hang(failure: Failure | None) -> None:
    """Where it is one of these, this process is over, or does nothing any more."""
    if failure is Failure.EXIT:
        os._exit(EXIT_CODE)
    while failure is Failure.HANG:
        time.sleep(1)


def _write(path: Path, text: str) -> None:
    """Whole or not at all: somebody may be reading it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
