"""Where ranks come in: a listening socket, and a greeting for whoever connects."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable

from sdv2_host.errors import ConfigError, ProtocolError
from sdv2_host.stages.channel import Channel, greet_rank
from sdv2_host.stages.messages import Hello, decode_from_rank
from sdv2_host.stages.route import MAX_PLACES

log = logging.getLogger(__name__)

MAX_WAITING = MAX_PLACES
"""Connections that are being greeted: all ranks of a ring may come at once. More are sent away, so
that strangers take no memory."""
HELLO_S = 3.0
"""Of silence, for who knows the token: its machine may have lost its network since."""
RETRY_S = 0.1

OnHello = Callable[[Channel, Hello], None]


class Door:
    """Listens from the moment it is made.

    Owns one thread, and one for each connection while it is greeted: a stranger that says nothing
    must not keep a rank waiting.
    """

    def __init__(
        self, address: tuple[str, int], token: str, max_payload_bytes: int, on_hello: OnHello
    ) -> None:
        """`on_hello` is told of who knows the token, in a thread of the door's.

        Raises:
            ConfigError: nothing can listen there.
        """
        self._token = token
        self._max_payload_bytes = max_payload_bytes
        self._on_hello = on_hello
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._closed = threading.Event()
        try:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self._listener = socket.create_server(address, family=family, backlog=MAX_WAITING)
        except OSError as error:
            host, port = address
            raise ConfigError(
                f"cannot listen on {host}:{port} for devices to join ({error}): use an address of "
                "this machine and a port that is free; for another size or engine live, "
                "/sdv2/swap/mode replace frees it first"
            ) from error
        threading.Thread(target=self._accept, name="door", daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Nobody comes in any more."""
        self._closed.set()
        with contextlib.suppress(OSError):  # not every system can, and not every one needs it
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError as error:
                # Not only when it is closed: also if who knocked has gone on Windows and macOS,
                # or no file can be opened, which passes.
                if self._closed.wait(RETRY_S):
                    return
                log.warning("a connection could not be taken: %s", error)
                continue
            if not self._waiting.acquire(blocking=False):
                sock.close()
                continue
            threading.Thread(
                target=self._greet, args=(sock, str(peer[0])), name="greeting", daemon=True
            ).start()

    def _greet(self, sock: socket.socket, peer: str) -> None:
        try:
            channel = greet_rank(sock, self._token, self._max_payload_bytes)
            sock.settimeout(HELLO_S)
            hello = decode_from_rank(channel.receive().header)
            sock.settimeout(None)
            if not isinstance(hello, Hello):
                raise ProtocolError(f"first message is {hello.kind!r}, expected 'hello'")
            if self._closed.is_set():
                raise ProtocolError("the door was closed meanwhile")
        except ProtocolError as error:
            sock.close()
            log.warning("a connection from %s was refused: %s", peer, error)
            return
        finally:
            self._waiting.release()
        self._on_hello(channel, hello)
