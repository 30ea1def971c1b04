"""What a rank does: what its driver orders and its neighbours send, epoch after epoch.

Threads: the main thread alone computes, and waits for nothing but work and room on a link. One
listens to the driver, and leaves a group at once when another begins, which frees the main thread.
One tells that the process lives. A transport has threads of its own.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import threading
import time
from collections import deque
from functools import partial
from typing import NamedTuple, NoReturn

import torch

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.cores import usable_cores
from sdv2_host.errors import ProtocolError
from sdv2_host.host.child_side import ChildExit
from sdv2_host.stages.channel import Channel
from sdv2_host.stages.channel_store import ChannelStore
from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.frame_bytes import unpack_frames, unpack_text
from sdv2_host.stages.gloo_transport import GlooTransport, LinkShapes, Seat
from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.local_transport import local_transports
from sdv2_host.stages.messages import (
    MAX_TEXT_CHARS,
    Begin,
    Chunk,
    Entry,
    EpochReady,
    ForgetTexts,
    Hello,
    LinkFailed,
    Load,
    Picture,
    Progress,
    Pulse,
    Rebalance,
    Refuse,
    Text,
    decode_to_rank,
)
from sdv2_host.stages.nccl_group import ChoosePayloadGroup
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.rank_speaker import Speaker, leave
from sdv2_host.stages.rank_ticket import RankLike, Ticket, version
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.transport import Transport, TransportError
from sdv2_host.stages.work import Route

log = logging.getLogger(__name__)

PULSE_S = 0.1


class _Group(NamedTuple):
    """What belongs to the ranks that are connected since that epoch."""

    number: int
    store: ChannelStore


class _Arrived(NamedTuple):
    """A packet, on a link of that group."""

    group: int
    packet: Leaf | Token


class _Order(NamedTuple):
    message: Load | Begin | Chunk | Text | ForgetTexts | Rebalance
    payload: bytearray
    group: _Group | None = None
    """Of a begin that connects anew."""


class RankWork:
    """The main thread's side of a rank.

    Fields: `_rank` and `_direct` (see `Seat`) from when it is loaded; `_group`, `_epoch` the newest
    begun; `_early` packets of epochs that neighbours have begun and we have not; `_chunks` that are
    not encoded yet;
    `_is_lost` whether the group's links have failed and another begin is waited for;
    `_busy_since_ns`, 0 = waiting, and `_longest_ns` are for the pulse; `_lock` guards `_transport`,
    which the listening thread closes.
    """

    def __init__(
        self, ticket: Ticket, channel: Channel, driver: Speaker, choose_direct: ChoosePayloadGroup
    ) -> None:
        self._ticket = ticket
        self._choose_direct = choose_direct
        self._channel = channel
        self._driver = driver
        self._interface = ticket.interface or channel.local_address
        self._device = torch.device(ticket.device)
        self._inbox: queue.SimpleQueue[_Order | _Arrived] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._direct: MakePayloadGroup | None = None
        self._listened: _Group | None = None
        self._group = -1
        self._epoch = -1
        self._early: list[Leaf | Token] = []
        self._chunks: deque[_Order] = deque()
        self._is_lost = True
        self._busy_since_ns = 0
        self._longest_ns = 0

    def run(self) -> NoReturn:
        """Until the connection ends.

        Raises:
            HostError: the models cannot be loaded, or memory ran out.
        """
        self._driver.say(
            Hello(
                version=version(),
                ticket=self._ticket.number,
                device=self._ticket.device,
                machine=platform.node()[:255],
                pid=os.getpid(),
            )
        )
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        first = self._inbox.get()
        if not isinstance(first, _Order) or not isinstance(first.message, Load):
            raise ProtocolError("the driver's first message is not 'load'")
        self._rank = self._load(first.message)
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        while True:
            event = self._next()
            if isinstance(event, _Order) and isinstance(event.message, Begin):
                self._do(event)  # as long as it takes to read blocks from a disk
                continue
            begin_ns = now_ns()
            self._busy_since_ns = begin_ns
            self._do(event)
            self._longest_ns = max(self._longest_ns, now_ns() - begin_ns)
            self._busy_since_ns = 0

    def _next(self) -> _Order | _Arrived:
        """What is done next. A chunk is encoded when the one before has begun: calls on their way
        do not wait for it, and the next call need not wait for it either."""
        while True:
            if self._chunks and self._rank.num_waiting == 0:
                return self._chunks.popleft()
            event = self._inbox.get()
            if not isinstance(event, _Order) or not isinstance(event.message, Chunk):
                return event
            self._chunks.append(event)

    def _load(self, load: Load) -> RankLike:
        def progress(text: str, fraction: float) -> None:
            self._driver.say(Progress(text=text[:MAX_TEXT_CHARS], fraction=fraction))

        if self._ticket.models_dir is not None:
            config = load.config.model_copy(update={"models_dir": self._ticket.models_dir})
            load = load.model_copy(update={"config": config})
        self._direct = self._choose_direct(load.config.transport, self._device)
        if self._device.type == "cpu":
            share = max(1, usable_cores() // load.num_ranks)
            torch.set_num_threads(load.config.threads or share)
        built = self._ticket.build(load, self._device, self._send_pictures, progress)
        self._driver.say(built.loaded)
        return built.rank

    def _send_pictures(self, pictures: Pictures) -> None:
        message = Picture(
            epoch=pictures.epoch,
            index=pictures.index,
            shape=pictures.pixels.shape,
            first_row=pictures.rows.first,
            notes=pictures.notes,
        )
        self._driver.say(message, pictures.pixels.tobytes())

    def _do(self, event: _Order | _Arrived) -> None:
        try:
            if isinstance(event, _Arrived):
                self._take(event)
            else:
                self._follow(event)
        except (TransportError, PacketError) as error:
            self._lose(self._group, str(error))

    def _take(self, arrived: _Arrived) -> None:
        packet = arrived.packet
        epoch = packet.header.epoch if isinstance(packet, Leaf) else packet.epoch
        if arrived.group != self._group or self._is_lost:
            return
        if epoch > self._epoch:
            self._early.append(packet)
        elif epoch == self._epoch:
            self._rank.take(packet)

    def _follow(self, order: _Order) -> None:
        message, rank = order.message, self._rank
        if isinstance(message, Begin):
            self._begin(message, order.group)
        elif isinstance(message, Text):
            rank.add_text(message.text_id, unpack_text(message, order.payload))
        elif isinstance(message, ForgetTexts):
            rank.keep_texts(set(message.keep))
        elif isinstance(message, Load):
            raise ProtocolError("the driver says 'load' again")
        elif self._is_lost or message.epoch != self._epoch:
            return
        elif isinstance(message, Chunk):
            frames = unpack_frames(message.frames, order.payload)
            rank.take_frames(frames, message.params, message.text_id)
        else:
            rank.rebalance(_plan(message.plan))

    def _begin(self, begin: Begin, group: _Group | None) -> None:
        plan = _plan(begin.plan)
        if begin.place >= plan.num_places:
            raise ProtocolError(f"place {begin.place} of {plan.num_places}")
        self._epoch = begin.epoch
        if group is not None:
            self._group = group.number
            self._early.clear()
            self._is_lost = False
        elif begin.group != self._group or self._is_lost:
            return  # its links have failed: the driver knows, and begins another group
        self._rank.begin(begin.epoch, begin.place, plan, begin.lanes)
        if group is not None and not self._connect(group, begin.place, plan):
            # Another group has begun meanwhile, and what is still to come of this one is nothing.
            self._is_lost = True
            return
        assert self._transport is not None, "connected when the group began"
        self._rank.attach(self._transport)
        self._driver.say(EpochReady(epoch=begin.epoch))
        early, self._early = self._early, []
        for packet in early:
            self._take(_Arrived(self._group, packet))

    def _connect(self, group: _Group, place: int, plan: RoutePlan) -> bool:
        """The transport is that of the group, unless another one has begun."""

        def arrived(packet: Leaf | Token) -> None:
            self._inbox.put(_Arrived(group.number, packet))

        with self._lock:
            if self._listened is not group:
                return False
            if plan.num_places == 1:
                self._transport = local_transports(1, plan.route, [arrived])[0]
                return True
            back = self._rank.back_shape if plan.route is Route.RING else None
            self._transport = GlooTransport(
                Seat(
                    epoch=group.number,
                    place=place,
                    num_places=plan.num_places,
                    route=plan.route,
                    interface=self._interface,
                    device=self._device,
                    direct=self._direct,
                ),
                LinkShapes(self._rank.forward_shape, back),
                group.store,
                on_packet=arrived,
                on_failure=partial(self._tell_failure, group.number),
            )
        return True

    def _tell_failure(self, group: int, reason: str) -> None:
        self._driver.say(LinkFailed(group=group, reason=reason[:MAX_TEXT_CHARS]))

    def _lose(self, group: int, reason: str) -> None:
        """The group is over for this rank; the driver begins another."""
        if not self._is_lost:
            self._is_lost = True
            self._tell_failure(group, reason)

    def _listen(self) -> None:
        """Puts the driver's orders in the inbox; ends the process with the connection."""
        try:
            while True:
                header, payload = self._channel.receive()
                message = decode_to_rank(header)
                if isinstance(message, Refuse):
                    log.error("%s", message.reason)
                    leave(ChildExit.FAILED)
                if isinstance(message, Entry):
                    self._learn(message, bytes(payload))
                elif isinstance(message, Begin) and message.group == message.epoch:
                    self._inbox.put(_Order(message, payload, self._leave_for(message.group)))
                else:
                    self._inbox.put(_Order(message, payload))
        except ProtocolError as error:
            log.info("%s", error)
        leave(ChildExit.ABANDONED)

    def _leave_for(self, number: int) -> _Group:
        """The group before is left, wherever the main thread is in it."""

        def publish(key: str, value: bytes) -> None:
            self._driver.say(Entry(group=number, key=key), value)

        left = self._listened
        group = _Group(number, ChannelStore(publish))
        with self._lock:
            self._listened = group
            transport = self._transport
        if left is not None:
            left.store.cancel()
        if transport is not None:
            transport.close()
        return group

    def _learn(self, entry: Entry, value: bytes) -> None:
        if self._listened is not None and entry.group == self._listened.number:
            self._listened.store.learn(entry.key, value)

    def _pulse(self) -> None:
        while True:
            since_ns, now = self._busy_since_ns, now_ns()
            self._driver.say(
                Pulse(
                    busy_ms=(now - since_ns) / NS_PER_MS if since_ns else 0.0,
                    longest_ms=self._longest_ns / NS_PER_MS,
                    encode_ms=self._rank.encode_ms or 0.0,
                    block_ms=self._rank.block_ms or 0.0,
                    decode_ms=self._rank.decode_ms or 0.0,
                )
            )
            time.sleep(PULSE_S)


def _plan(fields: dict[str, object]) -> RoutePlan:
    try:
        return RoutePlan.from_json(fields)
    except ValueError as error:
        raise ProtocolError(f"the driver's plan: {error}") from error
