"""Who may send OSC, which has no password: this machine, and whom the config names. And whom the
host sends feedback to unasked: the rig of a stage hears again at once when the host restarts."""

from __future__ import annotations

import functools
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sdv2_host.control.osc_dispatch import Peer
from sdv2_host.errors import ConfigError

MAX_PORT = 65535

Network = IPv4Network | IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """The addresses and networks of `Config.osc_from`.

    Raises:
        ConfigError: naming the one that is neither.
    """
    networks = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ip_network(item, strict=False))
        except ValueError:
            raise ConfigError(
                f"--osc-from {item!r}: expected addresses or networks, for example "
                "--osc-from '10.0.0.5, 192.168.1.0/24'"
            ) from None
    return tuple(networks)


def parse_targets(text: str) -> tuple[Peer, ...]:
    """Whom `Config.osc_to` names.

    Raises:
        ConfigError: naming the one that is no address and port.
    """
    return tuple(_target(item) for item in filter(None, map(str.strip, text.split(","))))


def _target(item: str) -> Peer:
    host, _, port = item.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        number = 0
    if not 1 <= number <= MAX_PORT:
        raise ConfigError(
            f"--osc-to {item!r}: expected an address and a port, for example "
            "--osc-to '127.0.0.1:7001, 10.0.0.5:9001'"
        )
    return Peer("udp", str(address), number)


def check_targets(targets: tuple[Peer, ...], host: str, port: int) -> None:
    """All of them can be reached from a socket that is bound to this address.

    Raises:
        ConfigError: naming the one that cannot, or that is the socket itself.
    """
    bound = ip_address(host.partition("%")[0])
    for target in targets:
        address = ip_address(target.host)
        if address.is_loopback and target.port == port:
            raise ConfigError(f"--osc-to {target}: that is this host's own port")
        if bound.version != address.version or (bound.is_loopback and not address.is_loopback):
            raise ConfigError(
                f"--osc-to {target}: out of reach of {host}, where the host listens; start it with "
                "--listen and its address in the network of the target"
            )


@functools.lru_cache(maxsize=256)  # of one sender thousands a second may ask
def may_send(host: str, networks: tuple[Network, ...]) -> bool:
    """`host` is an address as a socket gives it."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_loopback or any(
        address in network for network in networks if network.version == address.version
    )
