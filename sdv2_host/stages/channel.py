"""Channel: messages on a connected socket between the driver and one rank.

    offset  size  what
    0       4     bytes of the header, little endian, at most MAX_HEADER_BYTES
    4       8     bytes of the payload, little endian, at most what the receiver allows
    12      ...   header: JSON, see `messages.py`
    ...     ...   payload: raw bytes

Before that each side proves that it knows the token, which is never sent: both send 32 random
bytes and then the HMAC-SHA256 of them all, each under its own role, so that nothing can be sent
back to its sender. Nothing is encrypted: this is for a network that nobody else is on.

    driver -> rank   MAGIC, 32 bytes
    rank -> driver   32 bytes, proof of the rank
    driver -> rank   proof of the driver
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import socket
import struct
import threading
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import ProtocolError
from sdv2_host.stages.messages import MAX_HEADER_BYTES

MAGIC = b"sdv2-ring-1\n"
CHALLENGE_BYTES = 32
PROOF_BYTES = hashlib.sha256().digest_size
GREETING_S = 3.0
"""For the whole greeting, however slowly bytes come."""
_SIZES = struct.Struct("<IQ")

Payload = bytes | bytearray | memoryview


class Received(NamedTuple):
    header: bytes
    payload: bytearray


class Channel:
    """One greeted socket. Any thread may send; one receives. Both block."""

    def __init__(self, sock: socket.socket, max_payload_bytes: int) -> None:
        """Owns the socket. Larger payloads than that are refused before memory is taken.

        Raises:
            OSError: the connection has ended; only some systems say so here.
        """
        self._socket = sock
        self._max_payload_bytes = max_payload_bytes
        self._sending = threading.Lock()
        self.heard_ns = now_ns()
        """When the other side's newest bytes came, of whatever message."""
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def local_address(self) -> str:
        """Of this machine, as the other one reaches it."""
        return str(self._socket.getsockname()[0])

    def send(self, header: bytes, payload: Payload = b"") -> None:
        """The message is on its way. Blocks while the other side does not read.

        Raises:
            ProtocolError: the connection has ended.
        """
        size = memoryview(payload).nbytes
        try:
            with self._sending:
                self._socket.sendall(_SIZES.pack(len(header), size) + header)
                if size:
                    self._socket.sendall(payload)
        except OSError as error:
            raise ProtocolError(f"connection ended: {error}") from error

    def receive(self) -> Received:
        """The next message.

        Raises:
            ProtocolError: the connection has ended, or a size is not allowed.
        """
        header_bytes, payload_bytes = _SIZES.unpack(self._exactly(_SIZES.size))
        if header_bytes > MAX_HEADER_BYTES:
            raise ProtocolError(f"header of {header_bytes} bytes, allowed are {MAX_HEADER_BYTES}")
        if payload_bytes > self._max_payload_bytes:
            raise ProtocolError(
                f"payload of {payload_bytes} bytes, allowed are {self._max_payload_bytes}"
            )
        return Received(bytes(self._exactly(header_bytes)), self._exactly(payload_bytes))

    def close(self) -> None:
        """Both directions have ended; whoever waits in `send` or `receive` gets ProtocolError."""
        with contextlib.suppress(OSError):  # the other side was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, count: int) -> bytearray:
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        while filled < count:
            try:
                got = self._socket.recv_into(view[filled:])
            except OSError as error:
                raise ProtocolError(f"connection ended: {error}") from error
            if not got:
                raise ProtocolError("connection ended")
            filled += got
            self.heard_ns = now_ns()
        return buffer


def greet_rank(sock: socket.socket, token: str, max_payload_bytes: int) -> Channel:
    """The driver's side: who connected knows the token.

    Raises:
        ProtocolError: it does not, or took too long.
    """
    try:
        greeting = _Greeting(sock)
        ours = secrets.token_bytes(CHALLENGE_BYTES)
        greeting.send(MAGIC + ours)
        theirs = greeting.receive(CHALLENGE_BYTES)
        proof = greeting.receive(PROOF_BYTES)
        if not hmac.compare_digest(proof, _proof(token, b"rank", ours, theirs)):
            raise ProtocolError("wrong token")
        greeting.send(_proof(token, b"driver", ours, theirs))
        return Channel(sock, max_payload_bytes)
    except OSError as error:
        raise ProtocolError(f"no greeting: {error}") from error


def greet_driver(sock: socket.socket, token: str, max_payload_bytes: int) -> Channel:
    """The rank's side: who was connected to knows the token, and takes us.

    Raises:
        ProtocolError: it does not, or took too long.
    """
    try:
        greeting = _Greeting(sock)
        if greeting.receive(len(MAGIC)) != MAGIC:
            raise ProtocolError("what answers is no sdv2-host of this kind")
        theirs = greeting.receive(CHALLENGE_BYTES)
        ours = secrets.token_bytes(CHALLENGE_BYTES)
        greeting.send(ours + _proof(token, b"rank", theirs, ours))
        proof = greeting.receive(PROOF_BYTES)
        if not hmac.compare_digest(proof, _proof(token, b"driver", theirs, ours)):
            raise ProtocolError("wrong token")
        return Channel(sock, max_payload_bytes)
    except OSError as error:
        raise ProtocolError(f"no greeting, the token may be another one: {error}") from error


def connect_to_driver(address: tuple[str, int], token: str, max_payload_bytes: int) -> Channel:
    """A channel to whoever listens there and knows the token.

    Raises:
        ProtocolError: nobody does.
    """
    try:
        sock = socket.create_connection(address, timeout=GREETING_S)
    except OSError as error:
        host, port = address
        raise ProtocolError(f"no host answers on {host}:{port}: {error}") from error
    try:
        return greet_driver(sock, token, max_payload_bytes)
    except ProtocolError:
        sock.close()
        raise


class _Greeting:
    """A socket with a deadline for all that is said on it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._deadline_ns = now_ns() + int(GREETING_S * NS_PER_S)

    def send(self, data: bytes) -> None:
        self._socket.settimeout(self._left_s())
        self._socket.sendall(data)

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            self._socket.settimeout(self._left_s())
            got = self._socket.recv(count - len(data))
            if not got:
                raise ConnectionResetError("connection ended")
            data += got
        return data

    def _left_s(self) -> float:
        left_ns = self._deadline_ns - now_ns()
        if left_ns <= 0:
            raise TimeoutError(f"took longer than {GREETING_S:g} s")
        return left_ns / NS_PER_S


def _proof(token: str, role: bytes, of_driver: bytes, of_rank: bytes) -> bytes:
    return hmac.digest(token.encode(), role + b"|" + of_driver + of_rank, "sha256")
