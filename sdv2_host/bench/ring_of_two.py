"""Streams over two machines: a process on the first has them, one on the second lends devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from sdv2_host.bench.lent_devices import Invitation, lend
from sdv2_host.bench.two_machines import ADDRESSES, Program, TwoMachines
from sdv2_host.params import Params
from sdv2_host.stages.rank_ticket import BuildRank
from sdv2_host.stages.ring_engine import RingEngine
from sdv2_host.stages.ring_setup import Joining

DEVICES_EACH = 2
TOKEN = "of two machines that are one"
JOIN_WAIT_S = 120.0

T = TypeVar("T")


class Setting(Protocol):
    """Of a stream; other processes must be able to unpickle it."""

    @property
    def build(self) -> BuildRank:
        """Of every rank."""

    @property
    def params(self) -> Params:
        """To warm up with."""

    def opened(self) -> AbstractContextManager[RingEngine]:
        """An engine with `joining_here`, not warm."""


def joining_here() -> Joining:
    """How the devices of the second machine come in, on the first."""
    return Joining((ADDRESSES[0], 0), TOKEN, DEVICES_EACH, JOIN_WAIT_S)


class RingOfTwo:
    """The processes on both machines. Has streams one after the other."""

    def __init__(self, machines: TwoMachines) -> None:
        self.machines = machines
        self._streams = Program(machines.first, _have_streams)
        self._lender = Program(machines.second, lend, DEVICES_EACH)

    @contextmanager
    def stream(self, setting: Setting) -> Iterator[tuple[str, int]]:
        """A stream that has all its devices and is warm; where others may join it.

        Raises:
            WorkerError: its process has ended.
        """
        self._streams.tell(setting)
        address: tuple[str, int] = self._streams.hear()
        self._lender.tell(Invitation(address, TOKEN, setting.build))
        self._streams.hear()
        yield address
        self._streams.tell(None)
        self._streams.hear()
        self._lender.tell(None)

    def on_stream(self, body: Callable[[RingEngine], T]) -> T:
        """What `body` returns there; a function that another process can find."""
        self.begin(body)
        result: T = self.result()
        return result

    def begin(self, body: Callable[[RingEngine], object]) -> None:
        """It runs there; its result must be asked for."""
        self._streams.tell(body)

    def result(self) -> Any:
        """Of what was begun. Blocks.

        Raises:
            WorkerError: its process has ended.
        """
        return self._streams.hear()

    def close(self) -> None:
        """Both processes have ended."""
        self._streams.close()
        self._lender.close()


def _have_streams(line: Connection) -> None:
    """One for each setting that comes; it does what it is told until None."""
    with suppress(EOFError):
        while True:
            setting: Setting = line.recv()
            with setting.opened() as engine:
                line.send(engine.driver.join_address)
                engine.warm_up(setting.params, lambda text, fraction: None)
                line.send("warm")
                while (body := line.recv()) is not None:
                    line.send(body(engine))
            line.send("closed")
