"""HostLink: the OSC conversation with one start of one host, over a UDP socket of its own."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace

from sdv2_host.client.judgement import SWITCHES, Facts
from sdv2_host.client.mailbox import Call
from sdv2_host.client.status import Complaint
from sdv2_host.client.told import Told
from sdv2_host.clock import NS_PER_S
from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.osc import MAX_PACKET_BYTES, decode
from sdv2_host.ipc.osc_encode import OutValue, encode_bundle, encode_message

PING_NS = NS_PER_S
"""Also keeps the subscription, which lasts a minute."""
SUBSCRIBE_NS = NS_PER_S
"""Between two tries while the host tells nothing."""
DEAF_NS = 5 * NS_PER_S
"""Without a heartbeat, though it answers: the subscription is gone. A computer that slept does
that."""
MAX_DATAGRAMS = 16
"""At one look: the application's thread waits for the interpreter as long as this one decodes."""
RECEIVE_BUFFER_BYTES = 1 << 18
MAX_SEND_BYTES = 9000
"""macOS sends no datagram above 9216. The longest prompt of a host takes 8000."""
MAX_BUNDLE_MESSAGES = 64
_BUNDLE_OVERHEAD_BYTES = 16
_ELEMENT_OVERHEAD_BYTES = 4


class HostLink:
    """Fields, per start of a host: the socket; what it told; when it last gave a sign and when the
    next question is due; what could not be sent yet."""

    def __init__(self, file: HostFile, now: int) -> None:
        """Nothing was sent yet.

        Raises:
            OSError: there is no way to that address.
        """
        self.file = file
        self.told = Told()
        self.began_ns = now
        self.heard_ns = now
        """When anything came from it, or the start."""
        self.heartbeat_ns = 0
        """0 = none yet."""
        self._beat: OutValue = -1
        self._next_ping_ns = 0
        self._next_subscribe_ns = 0
        self._waiting: dict[str, OutValue] = {}
        family, kind, _, _, at = socket.getaddrinfo(
            file.address, file.port, type=socket.SOCK_DGRAM
        )[0]
        self._socket = socket.socket(family, kind)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._socket.connect(at)  # from now on only the host itself is heard
        except OSError:
            self._socket.close()
            raise

    @property
    def version(self) -> str:
        """Of the host: as it answers, before that as its file says."""
        return self.told.version or self.file.version

    def facts(self, known: Facts, now: int) -> Facts:
        """What is known, and what the host told beside."""
        return replace(
            known,
            has_file=True,
            listen=self.file.listen,
            port=self.file.port,
            version=self.version,
            silent_s=(now - self.heard_ns) / NS_PER_S,
            told_state=self.told.text("state"),
            told_detail=self.told.text("detail"),
            switches=frozenset(one for one in SWITCHES if self.told.is_on(one)),
        )

    def put(self, values: Mapping[str, OutValue]) -> None:
        """These parameters shall have these values; sent at the next turn."""
        self._waiting.update(values)
        self.told.assume(values)

    def call(self, call: Call) -> bool:
        """Whether the action was sent."""
        self._send_values()  # what was set before it is in force when it fires
        return self._send(encode_message(call.address, *call.args), call.address)

    def turn(self, now: int) -> None:
        """What came is taken, what is due is sent; never waits."""
        self._receive(now)
        self._send_values()
        if now >= self._next_ping_ns:
            self._next_ping_ns = now + PING_NS
            self._send(encode_message("/sdv2/ping", ""), "/sdv2/ping")
        is_deaf = now - max(self.heartbeat_ns, self.began_ns) > DEAF_NS or not self.heartbeat_ns
        if is_deaf and now >= self._next_subscribe_ns:
            self._next_subscribe_ns = now + SUBSCRIBE_NS
            self._send(encode_message("/sdv2/subscribe"), "/sdv2/subscribe")

    def close(self) -> None:
        """The host tells us no more."""
        self._send(encode_message("/sdv2/unsubscribe"), "/sdv2/unsubscribe")
        self._socket.close()

    def _receive(self, now: int) -> None:
        for _ in range(MAX_DATAGRAMS):
            try:
                data = self._socket.recv(MAX_PACKET_BYTES)
            except OSError:  # nothing there, or nobody listens at the port (yet, or no more)
                return
            self.heard_ns = now
            try:
                messages = decode(data).messages
            except ProtocolError as error:
                self.told.complaints.append(Complaint("osc", str(error)))
                continue
            for message in messages:
                self.told.take(message)
            beat = self.told.facts.get("heartbeat", -1)
            if beat != self._beat:
                self._beat, self.heartbeat_ns = beat, now

    def _send_values(self) -> None:
        """As one change where a datagram has room; what cannot be sent now waits, newest value."""
        while self._waiting:
            packets: dict[str, bytes] = {}
            room = MAX_SEND_BYTES - _BUNDLE_OVERHEAD_BYTES
            for address, value in self._waiting.items():
                packet = encode_message(address, value)
                room -= len(packet) + _ELEMENT_OVERHEAD_BYTES
                if packets and (room < 0 or len(packets) == MAX_BUNDLE_MESSAGES):
                    break
                packets[address] = packet
            whole = list(packets.values())
            packet = whole[0] if len(whole) == 1 else encode_bundle(whole)
            if not self._send(packet, next(iter(packets))):
                return
            for address in packets:
                del self._waiting[address]

    def _send(self, packet: bytes, address: str) -> bool:
        """Whether it need not be sent again: a datagram too long never will be."""
        if len(packet) > MAX_SEND_BYTES:
            reason = f"takes {len(packet)} bytes, allowed are {MAX_SEND_BYTES}: shorten it"
            self.told.complaints.append(Complaint(address, reason))
            return True
        try:
            self._socket.send(packet)
        except OSError:  # a full buffer, or the news that nobody listened to the last one
            return False
        return True
