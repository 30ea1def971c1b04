"""Live control over OSC: datagrams in, validated patches out."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sdv2_host.config import Config
from sdv2_host.control.ports import udp_port_owner
from sdv2_host.errors import ConfigError, ParamError, ProtocolError
from sdv2_host.ipc.osc import OscArgument, OscMessage, decode
from sdv2_host.params import BY_ADDRESS, Params, ParamSpec, ParamValue, Patch, coerce
from sdv2_host.status import OscCounts

log = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""The default of 200 kB drops a quarter of a burst of 20,000 messages."""
MAX_REMEMBERED = 256
"""Different complaints that are written out; a sender of random bytes must not fill the disk."""
SHOWN_CHARS = 80

ApplyFn = Callable[[Patch, str], Params]
"""(patch, origin) -> the parameters after it"""


@dataclass(slots=True)
class Interpreter:
    """Turns messages into patches by the parameter table. Pure but for the log.

    Fields, per process: counts; `told` what was already complained about.
    """

    counts: OscCounts = field(default_factory=OscCounts)
    told: set[str] = field(default_factory=set)

    def patch_of(self, datagram: bytes, origin: str) -> Patch:
        """What the datagram changes; a bundle is one patch. Empty when nothing in it is usable.

        Each kind of fault of an address is logged once and counted after that.
        """
        self.counts.datagrams += 1
        try:
            packet = decode(datagram)
        except ProtocolError as error:
            self.counts.bad_datagrams += 1
            self._tell(f"bad {origin}", f"OSC from {origin} ignored: {error}")
            return {}
        for reason in packet.rejected:
            self.counts.rejected += 1
            self._tell(f"part {origin}", f"OSC message in a bundle from {origin} ignored: {reason}")
        patch: dict[str, ParamValue] = {}
        for message in packet.messages:
            self._interpret(message, patch)
        return patch

    def _interpret(self, message: OscMessage, patch: dict[str, ParamValue]) -> None:
        spec = BY_ADDRESS.get(message.address)
        if spec is None:
            self.counts.unknown += 1
            self._tell(f"unknown {message.address}", _unknown_text(message.address))
            return
        try:
            raw = _single_value(spec, message.args)
            value, clamped = coerce(spec, raw)
        except ParamError as error:
            self.counts.rejected += 1
            self._tell(f"rejected {spec.address}", f"OSC ignored: {error}")
            return
        if clamped:
            self.counts.clamped += 1
            came = _shown(raw)
            used = _shown(value)
            self._tell(
                f"clamped {spec.address}",
                f"OSC {spec.address} = {came}, expected {spec.allowed}: {used} is used",
            )
        self.counts.applied += 1
        patch[spec.name] = value

    def _tell(self, key: str, text: str) -> None:
        if key in self.told or len(self.told) > MAX_REMEMBERED:
            return
        self.told.add(key)
        if len(self.told) > MAX_REMEMBERED:
            log.warning("OSC: %d different faults so far, more are only counted", MAX_REMEMBERED)
        else:
            log.warning("%s (said once, counted from now on)", text)


def _single_value(spec: ParamSpec, args: tuple[OscArgument, ...]) -> ParamValue:
    """The one value in the arguments, of a kind that `coerce` can judge.

    Several words for a text are joined by spaces: Pd and Max send a prompt word by word.

    Raises:
        ParamError: no value, too many, or of a kind this parameter cannot take.
    """
    if spec.kind is str:
        words = [_shown_word(arg) for arg in args if isinstance(arg, str | int | float)]
        if words and len(words) == len(args):
            return " ".join(words)
    elif len(args) == 1:
        value = args[0]
        wants_bool = spec.kind is bool
        if isinstance(value, bool) and wants_bool:
            return value
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return value
    came = _shown(args[0] if len(args) == 1 else args) if args else "nothing"
    raise ParamError(f"{spec.address} came with {came}, expected {spec.allowed}")


def _shown_word(arg: str | int | float) -> str:
    return f"{arg:g}" if isinstance(arg, float) else str(arg)


def _unknown_text(address: str) -> str:
    known = ", ".join(BY_ADDRESS)
    if " " in address:
        hint = "the value belongs into an argument, not into the address; "
    elif any(mark in address for mark in "*?[{"):
        hint = "patterns are not understood; "
    else:
        hint = ""
    return f"OSC {_shown(address)} ignored: no such parameter; {hint}known are {known}"


def _shown(value: object) -> str:
    """Quoted and cut, so that a peer's bytes cannot forge or flood the log."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."


class OscEndpoint(asyncio.DatagramProtocol):
    """Applies what arrives at the OSC port."""

    def __init__(self, apply: ApplyFn) -> None:
        self._apply = apply
        self._interpreter = Interpreter()

    @property
    def counts(self) -> OscCounts:
        return replace(self._interpreter.counts)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        patch = self._interpreter.patch_of(data, addr[0])
        if patch:
            self._apply(patch, f"osc {addr[0]}")

    def error_received(self, exc: Exception) -> None:
        # Windows reports here that an earlier reply of ours met a closed port.
        log.debug("OSC socket: %s", exc)


class OscListener(NamedTuple):
    transport: asyncio.DatagramTransport
    endpoint: OscEndpoint
    port: int


async def listen_osc(config: Config, apply: ApplyFn) -> OscListener:
    """OSC datagrams to `config.listen:port` reach `apply` from now on.

    Raises:
        ConfigError: the port is in use, or the address is not one of this machine.
    """
    loop = asyncio.get_running_loop()
    udp = _bind_udp(config.listen, config.port)
    transport, endpoint = await loop.create_datagram_endpoint(lambda: OscEndpoint(apply), sock=udp)
    return OscListener(transport, endpoint, int(udp.getsockname()[1]))


def _bind_udp(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise ConfigError(f"--listen {host}: no such address ({error.strerror})") from error
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    try:
        udp.bind(address)
    except OSError as error:
        udp.close()
        raise ConfigError(
            f"--port {port}: {host}:{port} cannot be used ({error.strerror}); "
            f"{udp_port_owner(port)}; choose another one, for example --port {port + 1}, "
            "or 0 for any free one"
        ) from error
    return udp
