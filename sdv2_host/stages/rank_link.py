"""The driver's end of a rank: what it says, and what it is told, without ever waiting for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from sdv2_host.errors import ProtocolError
from sdv2_host.stages.channel import Channel, Payload
from sdv2_host.stages.messages import FromRank, Hello, ToRank, decode_from_rank, encode

OnMessage = Callable[[int, FromRank, bytearray], None]
"""(rank, message, payload)."""
OnEnd = Callable[[int, str], None]
"""(rank, why): nothing more comes from it."""


class RankLink:
    """One rank that is connected, from its hello on.

    Owns two threads. One reads, as reading blocks and an end must be seen at once. One writes: a
    rank that hangs does not read, and must not hold up the driver, which is to find that out.
    """

    def __init__(
        self, rank: int, hello: Hello, channel: Channel, on_message: OnMessage, on_end: OnEnd
    ) -> None:
        """Both are called in the thread that reads."""
        self.rank = rank
        self.hello = hello
        self.texts: set[int] = set()
        """Ids of those that it was told."""
        self._channel = channel
        self._on_message = on_message
        self._on_end = on_end
        self._letters: queue.SimpleQueue[tuple[ToRank, Payload] | None] = queue.SimpleQueue()
        for name, body in (("read", self._read), ("write", self._write)):
            threading.Thread(target=body, name=f"{name} rank {rank}", daemon=True).start()

    @property
    def interface(self) -> str:
        """Address of this machine that the rank is connected to."""
        return self._channel.local_address

    @property
    def heard_ns(self) -> int:
        """When its newest bytes came: a long message on a slow way is a sign of life too."""
        return self._channel.heard_ns

    def post(self, message: ToRank, payload: Payload = b"") -> None:
        """It is told this after all it was told before; lost if the connection has ended."""
        self._letters.put((message, payload))

    def close(self) -> None:
        """The connection has ended."""
        self._letters.put(None)
        self._channel.close()

    def _read(self) -> None:
        try:
            while True:
                header, payload = self._channel.receive()
                self._on_message(self.rank, decode_from_rank(header), payload)
        except ProtocolError as error:
            self._on_end(self.rank, str(error))

    def _write(self) -> None:
        while (letter := self._letters.get()) is not None:
            message, payload = letter
            try:
                self._channel.send(encode(message), payload)
            except ProtocolError:  # the reading thread says so
                return
