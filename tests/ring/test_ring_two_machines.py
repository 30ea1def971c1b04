"""Two machines on this one: the way between them, what happens when it is cut, what is left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import pytest

from sdv2_host.bench.two_machines import ADDRESSES, Machine, Program, TwoMachines
from sdv2_host.errors import WorkerError
from tests.hosts import is_running
from tests.stages.machines import machines_or_skip

WAIT_S = 30.0

T = TypeVar("T")


def two_ends(machines: TwoMachines) -> tuple[socket.socket, socket.socket]:
    """A connection from the second machine to the first."""
    listener = machines.first.on(lambda: socket.create_server((ADDRESSES[0], 0)))
    with listener:
        address = listener.getsockname()
        near = machines.second.on(lambda: socket.create_connection(address, WAIT_S))
        far, _ = listener.accept()
    far.settimeout(WAIT_S)
    return near, far


def exactly(sock: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += sock.recv(count - len(got))
    return got


def test_what_is_sent_arrives_whole_and_no_earlier_than_the_way_takes() -> None:
    sent = os.urandom(300_000)
    with machines_or_skip(one_way_ms=30) as machines:
        near, far = two_ends(machines)
        with near, far:
            begin_s = time.monotonic()
            sender = threading.Thread(target=near.sendall, args=(sent,))
            sender.start()
            got = exactly(far, len(sent))
            took_s = time.monotonic() - begin_s
            sender.join()

    assert got == sent
    assert took_s >= 0.03


def test_nothing_passes_a_cut_cable_and_what_was_held_up_comes_when_it_is_mended() -> None:
    with machines_or_skip() as machines:
        near, far = two_ends(machines)
        with near, far:
            machines.cable.cut()
            near.sendall(b"held up")
            far.settimeout(0.3)
            with pytest.raises(TimeoutError):
                far.recv(1)
            machines.cable.mend()
            far.settimeout(WAIT_S)
            got = exactly(far, 7)

    assert got == b"held up"


def test_neither_machine_reaches_this_one() -> None:
    with machines_or_skip() as machines, socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        for machine in (machines.first, machines.second):
            with pytest.raises(ConnectionRefusedError):
                machine.on(lambda: socket.create_connection(address, WAIT_S))


def sleep_for_ever(line: Connection) -> None:
    """With a child that does, and would outlive it."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    line.send("asleep")
    time.sleep(600)


class Here(Machine):
    """This machine, in place of one that not every system lets us have."""

    def __init__(self) -> None:
        self.address = "127.0.0.1"

    def on(self, body: Callable[[], T]) -> T:
        return body()


def hear_nothing(line: Connection) -> None:
    """Ends at once."""


@pytest.mark.skipif(sys.platform != "linux", reason="programs of two machines are Linux's")
def test_a_program_that_has_ended_is_told_of_whatever_it_had_not_heard() -> None:
    program = Program(Here(), hear_nothing)
    program.tell("something")

    with pytest.raises(WorkerError, match="has ended"):
        program.hear()
    with pytest.raises(WorkerError, match="has ended"):
        program.tell("something else")

    program.close()


def network_of(machine: Machine) -> Path:
    thread = "/proc/self/task/{}/ns/net"
    return machine.on(lambda: Path(thread.format(threading.get_native_id())).readlink())


def networks() -> set[Path]:
    """Of all threads that this user may look at."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/task/[0-9]*/ns/net"):
        with suppress(OSError):  # it has ended meanwhile
            found.add(link.readlink())
    return found


def fail_among_processes(made: set[Path], pids: list[int]) -> None:
    """Tells what it made, then ends as a test that fails does."""
    with machines_or_skip() as (first, second, _):
        made |= {network_of(first), network_of(second)}
        assert Program(first, sleep_for_ever).hear() == "asleep"
        assert Program(second, sleep_for_ever).hear() == "asleep"
        pids += first.pids + second.pids
        raise ZeroDivisionError


def test_nothing_is_left_when_a_test_fails() -> None:
    threads = set(threading.enumerate())
    made: set[Path] = set()
    pids: list[int] = []

    with pytest.raises(ZeroDivisionError):
        fail_among_processes(made, pids)

    assert len(made) == 2
    assert not made & networks()
    assert len(pids) == 4
    assert not any(is_running(pid) for pid in pids)
    assert set(threading.enumerate()) <= threads
