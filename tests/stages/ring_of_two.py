"""A ring of toys over two machines: a process on the first has the stream, one on the second lends
devices to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sdv2_host.bench.lent_devices import Invitation, lend
from sdv2_host.bench.two_machines import ADDRESSES, Program, TwoMachines
from sdv2_host.params import Params
from sdv2_host.stages.driver import Standing
from sdv2_host.stages.ring_engine import RingEngine
from sdv2_host.stages.ring_setup import Joining
from tests.stages.places import in_chunks, toy_clip
from tests.stages.toy_ring import PATIENT, build_toy, quiet, toy_ring

DEVICES_EACH = 2
TOKEN = "of a test with two machines"
WAIT_S = 90.0
CHUNKS = in_chunks(toy_clip(53))
PARAMS = Params(steps=2, drift="off")

T = TypeVar("T")


class RingOfTwo:
    """Both machines, and the processes on them. Streams one after the other."""

    def __init__(self, machines: TwoMachines) -> None:
        self.machines = machines
        self._streams = Program(machines.first, have_streams)
        self._lender = Program(machines.second, lend, DEVICES_EACH, build_toy)

    @contextmanager
    def stream(self, setting: Setting) -> Iterator[tuple[str, int]]:
        """A stream that is warm; where devices join it."""
        self.machines.cable.carry_in(setting.one_way_ms)
        self._streams.tell(setting)
        address: tuple[str, int] = self._streams.hear()
        if setting.num_guests:
            self._lender.tell(Invitation(address, TOKEN))
        assert self._streams.hear() == "warm"
        yield address
        self._streams.tell(None)
        assert self._streams.hear() == "closed"
        self._lender.tell(None)

    def on_stream(self, body: Callable[[RingEngine], T]) -> T:
        """What `body` returns there; a function that another process can find."""
        self.begin(body)
        return self.result()

    def begin(self, body: Callable[[RingEngine], object]) -> None:
        self._streams.tell(body)

    def result(self) -> T:
        return self._streams.hear()  # type: ignore[no-any-return]


class Setting(NamedTuple):
    route: str = "ring"
    one_way_ms: float = 0.0
    num_guests: int = DEVICES_EACH
    silence_s: float = PATIENT.silence_s


def have_streams(line: Connection) -> None:
    """A stream for each setting that comes; it does what it is told until None."""
    torch.set_num_threads(1)
    with suppress(EOFError):
        while True:
            setting: Setting = line.recv()
            limits = replace(PATIENT, silence_s=setting.silence_s)
            joining = Joining((ADDRESSES[0], 0), TOKEN, setting.num_guests, WAIT_S)
            with toy_ring(
                DEVICES_EACH, route=setting.route, limits=limits, joining=joining
            ) as engine:
                line.send(engine.driver.join_address)
                engine.warm_up(PARAMS, quiet)
                line.send("warm")
                while (body := line.recv()) is not None:
                    line.send(body(engine))
            line.send("closed")


# What a stream can be told.


def standing(engine: RingEngine) -> Standing:
    return engine.driver.standing


def given(first: int, last: int) -> Callable[[RingEngine], NDArray[np.uint8]]:
    """Chunks first..last-1 are given; what came out meanwhile."""
    return partial(_give, first, last)


def _give(first: int, last: int, engine: RingEngine) -> NDArray[np.uint8]:
    return np.concatenate([engine.step(frames, PARAMS).frames for frames in CHUNKS[first:last]])


def finished(engine: RingEngine) -> NDArray[np.uint8]:
    """All that was owed."""
    return engine.finish().frames


def until_devices(count: int) -> Callable[[RingEngine], Standing]:
    """The ring has so many; how it is."""
    return partial(_until_devices, count)


def _until_devices(count: int, engine: RingEngine) -> Standing:
    deadline = time.monotonic() + WAIT_S
    while engine.driver.standing.num_devices != count:
        assert time.monotonic() < deadline, engine.driver.standing
        time.sleep(0.02)
    return engine.driver.standing
