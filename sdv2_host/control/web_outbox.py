"""What one client is still to be sent: replies in order, of everything else the newest. No I/O but
`send_all`, which a slow client holds up for itself alone."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from sdv2_host.control.console import Change
from sdv2_host.control.web_messages import State

PICTURES_IN_FLIGHT = 3
"""Pictures sent and not yet drawn; more would be latency in socket buffers."""
MAX_REPLIES = 512
"""Answers to a client that goes on asking and does not read them."""
MAX_NOTICES = 64

Message = str | bytes


class Sink(Protocol):
    """An open WebSocket."""

    async def send(self, message: Message) -> None:
        """Returns when the socket can take more."""


class Outbox:
    """Fields, per connection: replies and notices to be sent in order; the newest message of each
    kind; changes that wait for `release`, and those that may go; pictures and the credit."""

    def __init__(self) -> None:
        self._replies: deque[Message] = deque()
        self._notices: deque[str] = deque(maxlen=MAX_NOTICES)
        self._newest: dict[str, Message] = {}
        self._gathered: Change | None = None
        self._state: Change | None = None
        self._pictures: dict[int, bytes] = {}
        self._credit = PICTURES_IN_FLIGHT
        self._wake = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """The client asks, and does not read the answers."""
        return len(self._replies) > MAX_REPLIES

    def reply(self, message: Message) -> None:
        """To be sent in order, nothing left out."""
        self._replies.append(message)
        self._wake.set()

    def notice(self, message: str) -> None:
        """To be sent in order; of too many the oldest are left out."""
        self._notices.append(message)
        self._wake.set()

    def offer(self, kind: str, message: Message) -> None:
        """To be sent unless a newer one of the kind comes first."""
        self._newest[kind] = message
        self._wake.set()

    def gather(self, change: Change) -> None:
        """To be told with what else has changed when `release` is called."""
        self._gathered = merged(self._gathered, change)

    def forget_changes(self) -> None:
        """What was gathered is told otherwise, and would be old later."""
        self._gathered = self._state = None

    def release(self) -> None:
        """What was gathered may go."""
        if self._gathered is not None:
            self._state = merged(self._state, self._gathered)
            self._gathered = None
            self._wake.set()

    def offer_picture(self, kind: int, message: bytes) -> None:
        """To be sent when the client has drawn what it got, unless a newer one comes first."""
        self._pictures[kind] = message
        self._wake.set()

    @property
    def wants_pictures(self) -> bool:
        """The client draws: a new picture would be sent."""
        return self._credit > 0

    def drawn(self) -> bool:
        """One picture less is on its way; False = none was."""
        if self._credit == PICTURES_IN_FLIGHT:
            return False
        self._credit += 1
        self._wake.set()
        return True

    def take(self) -> Message | Change | None:
        """The next thing to send; a `Change` is still to be written as a message."""
        if self._replies:
            return self._replies.popleft()
        if self._notices:
            return self._notices.popleft()
        if self._state is not None:
            state, self._state = self._state, None
            return state
        if self._newest:
            return self._newest.pop(next(iter(self._newest)))
        if self._pictures and self._credit > 0:
            self._credit -= 1
            return self._pictures.pop(next(iter(self._pictures)))
        return None

    async def send_all(self, sink: Sink) -> None:
        """Sends for ever.

        Raises:
            ConnectionError: the client is gone.
            TimeoutError: as the sink does.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (item := self.take()) is not None:
                await sink.send(state_text(item) if isinstance(item, Change) else item)


def merged(older: Change | None, newer: Change) -> Change:
    """Both as one: the last value wins."""
    if older is None:
        return newer
    return Change(newer.seq, newer.origin, older.values | newer.values, older.facts | newer.facts)


def state_text(change: Change) -> str:
    """The message that tells the change."""
    state = State(
        type="state",
        seq=change.seq,
        origin=change.origin,
        values=change.values,
        board=change.facts,
    )
    return state.model_dump_json()
