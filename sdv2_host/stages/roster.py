"""Roster: the ranks of a driver as processes and connections; not what they are for."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from typing import NamedTuple

from sdv2_host.errors import ProtocolError
from sdv2_host.stages.channel import Channel, Payload
from sdv2_host.stages.door import Door, OnHello
from sdv2_host.stages.local_ranks import LocalRanks
from sdv2_host.stages.messages import Hello, Load, Refuse, ToRank, encode
from sdv2_host.stages.rank_link import OnEnd, OnMessage, RankLink
from sdv2_host.stages.rank_ticket import BY_AGENT, Ticket, version
from sdv2_host.stages.ring_setup import RingSetup
from sdv2_host.stages.route import MAX_PLACES

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


class RosterNews(NamedTuple):
    """Whom the roster tells, each in a thread of its own."""

    on_hello: OnHello
    on_message: OnMessage
    on_end: OnEnd
    """Its connection has ended."""
    on_exit: OnEnd
    """Its process, if it was started here, has ended."""


class Roster:
    """Ranks by number; none is used twice. Used by the driver's thread.

    Fields: `_slots` of those that were started here, `_links` of those that are connected.
    """

    def __init__(self, setup: RingSetup, max_payload_bytes: int, news: RosterNews) -> None:
        """Listens from here on.

        Raises:
            ConfigError: nothing can listen where others are to join.
        """
        self._setup = setup
        self._news = news
        self._token = secrets.token_urlsafe(32)
        has_gpus = any(not device.startswith("cpu") for device in setup.devices)
        self._local = LocalRanks(setup.run_rank, news.on_exit, has_gpus=has_gpus)
        self._doors = [Door((LOOPBACK, 0), self._token, max_payload_bytes, news.on_hello)]
        if setup.joining is not None:
            token = setup.joining.token
            address = setup.joining.address
            self._doors.append(Door(address, token, max_payload_bytes, news.on_hello))
        self._num_ranks = 0
        self._slots: dict[int, int] = {}
        self._links: dict[int, RankLink] = {}

    @property
    def join_address(self) -> tuple[str, int]:
        """Where others join."""
        return self._doors[-1].address

    @property
    def pids(self) -> dict[int, int]:
        """Of the processes started here, by rank."""
        return self._local.pids

    def has(self, rank: int) -> bool:
        """It is connected."""
        return rank in self._links

    def new_rank(self, slot: int | None) -> int:
        rank = self._num_ranks
        self._num_ranks += 1
        if slot is not None:
            self._slots[rank] = slot
        return rank

    def start(self, rank: int) -> None:
        """Its process has been started.

        Raises:
            OSError: no memory or no file handles are left.
        """
        setup = self._setup
        reach = setup.joining.address[0] if setup.joining is not None else LOOPBACK
        self._local.start(
            rank,
            Ticket(
                address=self._doors[0].address,
                token=self._token,
                device=setup.devices[self._slots[rank]],
                build=setup.build,
                number=rank,
                interface=reach,
            ),
        )

    def admit(self, channel: Channel, hello: Hello) -> int | None:
        """Who came in is a rank from here on, and is told what to load; None = it was refused."""
        if hello.version != version():
            self._refuse(
                channel, f"the device runs sdv2-host {hello.version}, the host {version()}"
            )
            return None
        if len(self._links) >= MAX_PLACES:
            self._refuse(channel, f"there are {MAX_PLACES} devices already")
            return None
        rank = hello.ticket if hello.ticket != BY_AGENT else self.new_rank(None)
        is_expected = rank not in self._links and (hello.ticket == BY_AGENT or rank in self._slots)
        if not is_expected:
            self._refuse(channel, f"nobody expects rank {rank}")
            return None
        link = RankLink(rank, hello, channel, self._news.on_message, self._news.on_end)
        self._links[rank] = link
        config = self._setup.config
        link.post(Load(rank=rank, config=config, num_ranks=max(1, len(self._setup.devices))))
        return rank

    def link(self, rank: int) -> RankLink:
        return self._links[rank]

    @property
    def heard_ns(self) -> dict[int, int]:
        """When the newest bytes of each rank came."""
        return {rank: link.heard_ns for rank, link in self._links.items()}

    def post(self, rank: int, message: ToRank, payload: Payload = b"") -> None:
        self._links[rank].post(message, payload)

    def drop(self, rank: int) -> bool:
        """Nothing is left of it here. Whether there was anything."""
        link = self._links.pop(rank, None)
        if link is not None:
            link.close()
        slot = self._slots.pop(rank, None)
        if slot is not None:
            self._local.kill(rank)
        return link is not None or slot is not None

    def close(self) -> None:
        """Nothing is left of any."""
        for door in self._doors:
            door.close()
        for rank in list(self._links):
            self.drop(rank)
        self._local.close()

    def _refuse(self, channel: Channel, reason: str) -> None:
        log.warning("a device was refused: %s", reason)
        threading.Thread(target=_send_refusal, args=(channel, reason), daemon=True).start()


def _send_refusal(channel: Channel, reason: str) -> None:
    with contextlib.suppress(ProtocolError):  # it is gone already
        channel.send(encode(Refuse(reason=reason)))
    channel.close()
