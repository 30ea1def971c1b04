"""Who may send OSC, which has no password: this machine, and whom the config names."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sdv2_host.errors import ConfigError

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
