"""The transport between places in several processes: gloo, on this machine or between machines.

Gloo moves host memory only; what is on a CUDA device goes through page-locked memory. NCCL does not
exist on Windows, where most of our users are. Where it is asked for (`Seat.direct`), gloo carries
the heads of leaves and their tensors go beside it: order, back-pressure, pulses and the end of a
link are the same.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.distributed.distributed_c10d import Store

from sdv2_host.stages.direct_staging import DirectStaging
from sdv2_host.stages.gloo_group import GlooGroup, Membership
from sdv2_host.stages.gloo_link import (
    LinkSpec,
    OnFailure,
    ReceivingLink,
    SendingLink,
    lost,
    start_thread,
)
from sdv2_host.stages.gloo_moves import GlooMoves
from sdv2_host.stages.gloo_pulse import await_pulses, send_pulses
from sdv2_host.stages.leaf_staging import LeafStaging, staging_of
from sdv2_host.stages.packet import Leaf, LeafShape, Token
from sdv2_host.stages.payload_lane import LaneSpec, MakePayloadGroup, PayloadLane
from sdv2_host.stages.transport import Move, OnPacket
from sdv2_host.stages.work import Route

DEPTH = 8
"""Packets of one link that may be under way: with fewer, a long way would cost rate."""

_HOST = torch.device("cpu")
_END_S = 2.0
"""How long a closing transport keeps its process from ending."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where this process stands in one epoch."""

    epoch: int
    place: int
    num_places: int
    """At least 2: a place alone has `local_transports`."""
    route: Route
    interface: str = "127.0.0.1"
    """Address of this machine by which the other places reach it."""
    device: torch.device = _HOST
    """A CUDA device: leaves arrive there. Any other: they arrive in host memory."""
    direct: MakePayloadGroup | None = None
    """Tensors of leaves go by groups of this kind; None = with their heads, by host memory."""


class LinkShapes(NamedTuple):
    forward: LeafShape
    back: LeafShape | None
    """From exit to entry; None in a chain."""
    depth: int = DEPTH


class GlooTransport:
    """One place's links in one epoch; see `Transport`.

    The constructor returns at once: places meet in the background, and what is sent before waits
    for that. Never used again after `on_failure` or `close`: the next epoch has its own.

    Threads: one that meets the others, those of its links (see gloo_link), one for the pulses of
    each link, one for each exchange: all daemons; and one for `close`, for which the process waits
    2 s at most.
    """

    def __init__(
        self,
        seat: Seat,
        links: LinkShapes,
        store: Store,
        on_packet: OnPacket,
        on_failure: OnFailure,
    ) -> None:
        """`on_failure` is told, once and on a thread of the transport, why the epoch is over. That
        a neighbour has closed its transport is such a reason."""
        assert seat.num_places > 1, "a place alone has no links"
        assert (links.back is not None) == (seat.route is Route.RING), "only a ring has a way back"
        self._seat = seat
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._is_over = False
        """Failed or closed; of what happens afterwards nothing is said."""
        self._is_closed = False
        self._pulses_stopped = threading.Event()
        membership = Membership(seat.place, seat.num_places, seat.interface)
        names = ("links", "pulses", "moves")
        groups = [GlooGroup(store, f"ring/{seat.epoch}/{n}", membership) for n in names]
        carrier, self._pulses, mover = groups
        self._lanes: dict[int, PayloadLane] = {}
        """By the place that sends."""
        self._moves = GlooMoves(mover, self._fail)
        self._threads: list[threading.Thread] = []
        self._sending: SendingLink | None = None
        self._receiving: ReceivingLink | None = None
        last = seat.num_places - 1
        out = links.forward if seat.place < last else links.back
        if out is not None:
            peer = (seat.place + 1) % seat.num_places
            link = LinkSpec(carrier, peer, out, links.depth)
            staging = self._staging(store, seat.place)
            self._sending = SendingLink(link, staging, self._fail)
            self._threads += [*self._sending.threads, self._start_pulses(await_pulses, peer)]
        into = links.forward if seat.place > 0 else links.back
        if into is not None:
            peer = (seat.place - 1) % seat.num_places
            link = LinkSpec(carrier, peer, into, links.depth)
            staging = self._staging(store, peer)
            self._receiving = ReceivingLink(link, staging, on_packet, self._fail)
            self._threads += [*self._receiving.threads, self._start_pulses(send_pulses, peer)]
        lanes = [lane for _, lane in sorted(self._lanes.items())]
        self._groups: list[GlooGroup | PayloadLane] = [carrier, self._pulses, *lanes, mover]
        """In the order they meet in. Every place has the same: each waits for its peer there."""
        atexit.register(self._close_at_exit)
        # Last: nothing can fail before, so `_fail` finds all of the above.
        self._threads.append(start_thread(self._connect, "stage link meets"))

    def send(self, packet: Leaf | Token) -> None:
        assert self._seat.place + 1 < self._seat.num_places, "the exit has no next place"
        assert self._sending is not None
        self._sending.send(packet)

    def send_back(self, packet: Leaf) -> None:
        assert self._seat.place + 1 == self._seat.num_places, "only the exit sends back"
        assert self._sending is not None, "a chain has no way back"
        self._sending.send(packet)

    def exchange(self, sends: Sequence[Move], receives: Sequence[Move]) -> None:
        self._moves.exchange(sends, receives)

    def close(self) -> None:
        """Returns at once; sockets and memory are freed in the background. If places have not met
        yet, the owner of the store has to cancel it."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = self._is_over = True
        self._stop_links("the transport is closed")
        atexit.unregister(self._close_at_exit)
        threading.Thread(target=self._free_threads, name="stage link ends").start()

    def _staging(self, store: Store, sender: int) -> LeafStaging:
        """Of the link from that place."""
        seat = self._seat
        if seat.direct is None:
            return staging_of(seat.device)
        spec = LaneSpec(f"ring/{seat.epoch}/lane{sender}", seat.interface, seat.device)
        lane = PayloadLane(seat.direct, store, spec, is_sender=sender == seat.place)
        self._lanes[sender] = lane
        return DirectStaging(lane, seat.device)

    def _connect(self) -> None:
        try:
            for group in self._groups:
                group.connect()
        except (RuntimeError, OSError) as error:
            self._fail(f"the places did not meet: {str(error).splitlines()[0]}")

    def _start_pulses(self, body: _Pulses, peer: int) -> threading.Thread:
        def run() -> None:
            try:
                body(self._pulses, peer, self._pulses_stopped)
            except RuntimeError as error:
                self._fail(lost(peer, error))

        return start_thread(run, f"stage link pulses {peer}")

    def _fail(self, reason: str) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._stop_links(reason)
        self._on_failure(reason)

    def _stop_links(self, reason: str) -> None:
        self._pulses_stopped.set()
        self._moves.stop(reason)
        if self._sending is not None:
            self._sending.stop(reason)
        if self._receiving is not None:
            self._receiving.stop()

    def _close_at_exit(self) -> None:
        with self._lock:
            self._is_closed = self._is_over = True
        self._stop_links("the process ends")
        self._free_threads()

    def _free_threads(self) -> None:
        """Frees the threads that wait in gloo, and lets them get out of it before the process may
        end: one that comes back from there while Python shuts down would abort the process."""
        for group in self._groups:
            group.close()
        deadline = time.monotonic() + _END_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return
        # Not left to the garbage collector: who fails calls back, so all of this is a circle, and
        # it is much memory, page-locked where there is a device.
        for link in (self._sending, self._receiving):
            if link is not None:
                link.free()


_Pulses = Callable[[GlooGroup, int, threading.Event], None]
