"""Two machines with a cable between them, on this one: to measure and test what a way costs.

A machine is a thread with a network of its own. Whatever it starts is on that machine. The cable
is a thread that carries packets from one to the other after a time that can be changed, or none:
the kernel's own delays (`tc netem`) are missing in many kernels.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import resource_tracker
from typing import Any, NamedTuple, TypeVar

import psutil

from sdv2_host.bench.namespaces import MTU_BYTES, leave_network, open_device, pids_beside
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import WorkerError
from sdv2_host.host.child_side import ChildExit, die_with_daemon, exit_child

T = TypeVar("T")

ADDRESSES = ("10.77.0.1", "10.77.0.2")
ENDED = "a process on one of the two machines has ended"
GONE_S = 0.02
"""From a kill until it is looked again who is left."""


class Machine:
    """Owns one thread, the machine's."""

    def __init__(self, address: str) -> None:
        """
        Raises:
            ConfigError: the system does not let this user.
        """
        self.address = address
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"machine {address}")
        try:
            self.on(leave_network)
            self.device = self.on(partial(open_device, address))
        except BaseException:
            self._thread.shutdown()
            raise

    def on(self, body: Callable[[], T]) -> T:
        """What `body` returns, there: sockets, threads and processes that it makes are on the
        machine, and stay there."""
        return self._thread.submit(body).result()

    @property
    def pids(self) -> list[int]:
        """Of the processes that are on it."""
        return self.on(lambda: pids_beside(threading.get_native_id()))

    def close(self) -> None:
        """No process is left on it, and then no machine."""
        while pids := self.pids:
            for pid in pids:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
            time.sleep(GONE_S)
        multiprocessing.active_children()  # which waits for those that have ended
        self._thread.shutdown()
        os.close(self.device)


class Program:
    """A process on a machine, and the line to it. The process should end when the line does; it is
    killed when the machine's thread ends, which that of a killed program does too."""

    def __init__(self, machine: Machine, target: Callable[..., None], *args: Any) -> None:
        """`target` is called there with its end of the line, and then `args`."""
        # It would be started there, and keep the machine's network for as long as this process.
        resource_tracker.ensure_running()
        self._line, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_run, args=(target, theirs, *args))
        machine.on(self._process.start)
        theirs.close()

    def tell(self, what: object) -> None:
        """
        Raises:
            WorkerError: it has ended.
        """
        try:
            self._line.send(what)
        except OSError as error:
            raise WorkerError(ENDED) from error

    def hear(self) -> Any:
        """What it says next. Blocks.

        Raises:
            WorkerError: it has ended.
        """
        try:
            return self._line.recv()
        except (EOFError, OSError) as error:  # the latter where it was told what it has not heard
            raise WorkerError(ENDED) from error

    def close(self) -> None:
        """The line has ended, and the process."""
        self._line.close()
        self._process.join()


def _run(target: Callable[..., None], *args: Any) -> None:
    """Not longer than this program lives, whatever it waits for."""
    die_with_daemon(True)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.is_alive():  # it was not killed before the line above
        target(*args)
    exit_child(ChildExit.DONE)  # at once: taking torch down in order takes a second


class Cable:
    """Carries packets between two devices. Owns one thread.

    Fields: `_on_their_way` packets to each end, with when they are due there; `_held` the ends that
    get none for now.
    """

    def __init__(self, devices: tuple[int, int], one_way_ms: float) -> None:
        self._ends = devices
        self.carry_in(one_way_ms)
        self._is_whole = True
        self._is_closed = False
        self._held: frozenset[int] = frozenset()
        self._on_their_way: dict[int, deque[tuple[int, bytes]]] = {end: deque() for end in devices}
        self._thread = threading.Thread(target=self._carry, name="cable", daemon=True)
        self._wake_in, self._wake_out = os.pipe()
        self._thread.start()

    def carry_in(self, one_way_ms: float) -> None:
        """What is sent from now on takes so long."""
        self._one_way_ns = round(one_way_ms * NS_PER_MS)

    def cut(self) -> None:
        """Whatever is sent from now on, or is under way, vanishes; neither end is told."""
        self._is_whole = False
        self._wake()

    def hold_to(self, machine: Machine) -> None:
        """What is sent to this machine waits in the cable."""
        self._held |= {machine.device}

    def mend(self) -> None:
        """It carries again, and what waits in it at once."""
        self._is_whole = True
        self._held = frozenset()
        self._wake()

    def close(self) -> None:
        """The thread has ended. The devices are left to their owners."""
        self._is_closed = True
        self._wake()
        self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _wake(self) -> None:
        os.write(self._wake_out, b"!")

    def _carry(self) -> None:
        first, second = self._ends
        other = {first: second, second: first}
        while not self._is_closed:
            readable, _, _ = select.select([*self._ends, self._wake_in], [], [], self._wait_s())
            if self._wake_in in readable:
                os.read(self._wake_in, 1)
            due_ns = now_ns() + self._one_way_ns
            for end in other.keys() & set(readable):
                packets = [(due_ns, packet) for packet in _read_all(end)]
                self._on_their_way[other[end]].extend(packets)
            for end, packets_to in self._on_their_way.items():
                if not self._is_whole:
                    packets_to.clear()
                while packets_to and packets_to[0][0] <= now_ns() and end not in self._held:
                    os.write(end, packets_to.popleft()[1])

    def _wait_s(self) -> float | None:
        """None = until a packet comes, or somebody calls."""
        due = [
            packets[0][0]
            for end, packets in self._on_their_way.items()
            if packets and end not in self._held
        ]
        return max(0, min(due) - now_ns()) / NS_PER_S if due else None


def _read_all(device: int) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield os.read(device, MTU_BYTES)


class TwoMachines(NamedTuple):
    first: Machine
    second: Machine
    cable: Cable


@contextlib.contextmanager
def two_machines(one_way_ms: float = 0.0) -> Iterator[TwoMachines]:
    """Nothing is left of them afterwards: no process, no device, no network.

    Raises:
        ConfigError: the system does not let this user.
    """
    with contextlib.ExitStack() as stack:
        machines = []
        for address in ADDRESSES:
            machine = Machine(address)
            stack.callback(machine.close)
            machines.append(machine)
        first, second = machines
        cable = Cable((first.device, second.device), one_way_ms)
        stack.callback(cable.close)
        yield TwoMachines(first, second, cable)
