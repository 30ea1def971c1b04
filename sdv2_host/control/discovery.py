"""Found on the network without typing an address: OSCQuery, OSC and the page by Zeroconf.

Only where others than this machine may connect. What goes wrong here is told and stops nothing:
a show must start where multicast is blocked. `zeroconf` is an extra, looked for once at the start.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import psutil

from sdv2_host import __version__
from sdv2_host.config import Config
from sdv2_host.control.access import is_loopback

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

SERVICES = ("_oscjson._tcp.local.", "_osc._udp.local.", "_http._tcp.local.")
REGISTER_S = 15.0
GOODBYE_S = 2.0
MAX_LABEL_BYTES = 63
"""Of one part of a name, by DNS."""


class Presence(NamedTuple):
    """What is told of a host."""

    name: str
    """Of this host and machine, for people."""
    machine: str
    """Host name without a dot."""
    addresses: tuple[str, ...]
    port: int


def presence_of(config: Config, port: int) -> Presence | None:
    """None where nobody else can connect, or there is no network."""
    if is_loopback(config.listen):
        return None
    machine = socket.gethostname().partition(".")[0] or "localhost"
    addresses = _reachable(config.listen)
    if not addresses:
        return None
    name = f"{config.name} on {machine}".encode()[:MAX_LABEL_BYTES].decode("utf-8", "ignore")
    return Presence(name, machine, addresses, port)


def _reachable(listen: str) -> tuple[str, ...]:
    """The addresses of this machine at which others reach what listens at `listen`."""
    if listen in ("0.0.0.0", "::"):
        cards = psutil.net_if_addrs().values()
        found = [one.address for card in cards for one in card if one.family == socket.AF_INET]
    else:  # perhaps a name: what it was bound to is the first of its addresses
        found = [str(socket.getaddrinfo(listen, None)[0][4][0])]
    return tuple(one for one in found if not is_loopback(one))


def load_zeroconf() -> ModuleType | None:
    """The extra, or None; takes a moment."""
    try:
        import zeroconf.asyncio  # noqa: PLC0415
    except ImportError:
        return None
    return zeroconf


class Advertisement:
    """Tells the network of a host. Fields, from `start` to `close`: the task that registers; what
    was registered with."""

    def __init__(
        self,
        presence: Presence,
        interfaces: Sequence[str] | None = None,
        load: Callable[[], ModuleType | None] = load_zeroconf,
    ) -> None:
        """`interfaces`: addresses to speak from; without them all of the presence's."""
        self._presence = presence
        self._load = load
        self._interfaces = list(interfaces if interfaces is not None else presence.addresses)
        self._task: asyncio.Task[None] | None = None
        self._zeroconf: AsyncZeroconf | None = None

    def start(self) -> None:
        """The network is told soon; this takes no time."""
        self._task = asyncio.create_task(self._register(), name="discovery")

    async def registered(self) -> bool:
        """Waits until it is known whether the network was told."""
        assert self._task is not None, "started"
        await asyncio.wait({self._task})
        return self._zeroconf is not None

    async def close(self) -> None:
        """The network is told that the host is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._zeroconf is None:
            return
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._zeroconf.async_unregister_all_services()
        except (OSError, TimeoutError) as error:
            log.debug("discovery: goodbye was not said: %s", error)
        finally:
            await self._zeroconf.async_close()
            self._zeroconf = None

    async def _register(self) -> None:
        # In a thread: no heartbeat waits for an import.
        zeroconf = await asyncio.to_thread(self._load)
        if zeroconf is None:
            log.info("not advertised on the network: pip install 'sdv2-host[discovery]'")
            return
        speaker: AsyncZeroconf | None = None
        try:
            speaker = zeroconf.asyncio.AsyncZeroconf(interfaces=self._interfaces)
            async with asyncio.timeout(REGISTER_S):
                await asyncio.gather(*(_told(speaker, info) for info in self._infos(zeroconf)))
            self._zeroconf, speaker = speaker, None
            log.info("advertised on the network as %r", self._presence.name)
        except (OSError, TimeoutError, zeroconf.Error) as error:
            reason = str(error) or type(error).__name__
            log.warning("not advertised on the network: %s; clients need the address", reason)
        finally:
            if speaker is not None:
                await speaker.async_close()

    def _infos(self, zeroconf: ModuleType) -> list[AsyncServiceInfo]:
        presence = self._presence
        return [
            zeroconf.asyncio.AsyncServiceInfo(
                service,
                f"{presence.name}.{service}",
                port=presence.port,
                parsed_addresses=list(presence.addresses),
                properties={"path": "/", "version": __version__},
                server=f"{presence.machine}.local.",
            )
            for service in SERVICES
        ]


async def _told(speaker: AsyncZeroconf, info: AsyncServiceInfo) -> None:
    """The network was asked whether the name is free, and told."""
    await (await speaker.async_register_service(info, allow_name_change=True))
