"""Neighbours in processes of their own, which a test may stop and kill."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import NamedTuple

from torch.distributed import TCPStore

from sdv2_host.stages.gloo_transport import GlooTransport, Seat
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.work import Route
from tests.stages.gloo_places import DEADLINE_S, greet, link_shapes


class Neighbours(NamedTuple):
    transport: GlooTransport
    """Of this process."""
    failures: SimpleQueue[str]
    processes: dict[int, BaseProcess]
    """Of the other places."""


@contextmanager
def neighbours(
    place: int, num_places: int, route: Route, direct: MakePayloadGroup | None = None
) -> Iterator[Neighbours]:
    """This process takes `place`, others all the rest; all have met."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    # A forkserver has torch loaded once for all; elsewhere it does not exist, or is not safe.
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([__name__])
    processes: dict[int, BaseProcess] = {
        other: context.Process(
            target=serve,
            args=(Seat(1, other, num_places, route, direct=direct), store.port),
            daemon=True,
        )
        for other in range(num_places)
        if other != place
    }
    for process in processes.values():
        process.start()
    taken: SimpleQueue[Leaf | Token] = SimpleQueue()
    failures: SimpleQueue[str] = SimpleQueue()
    seat = Seat(1, place, num_places, route, direct=direct)
    transport = GlooTransport(seat, link_shapes(route), store, taken.put, failures.put)
    try:
        greet(transport, seat)
        yield Neighbours(transport, failures, processes)
    finally:
        transport.close()
        for process in processes.values():
            process.kill()
            process.join()


def serve(seat: Seat, port: int) -> None:
    """A place that meets the others, takes what comes and waits to be killed."""
    store = TCPStore("127.0.0.1", port, is_master=False)
    taken: SimpleQueue[Leaf | Token] = SimpleQueue()
    failures: SimpleQueue[str] = SimpleQueue()
    transport = GlooTransport(seat, link_shapes(seat.route), store, taken.put, failures.put)
    greet(transport, seat)
    time.sleep(2 * DEADLINE_S)
