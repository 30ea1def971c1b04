"""The conversation of protocol v1 on `/socket`: hello, then sets, calls and pings are answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pydantic import BaseModel

from sdv2_host.control.access import Access
from sdv2_host.control.web_answers import Answers
from sdv2_host.control.web_limits import Limits, count
from sdv2_host.control.web_messages import (
    PROTOCOL,
    Ack,
    Call,
    ClientRow,
    Drawn,
    ErrorReply,
    Hello,
    Ping,
    Pong,
    Result,
    Set,
    Topic,
)
from sdv2_host.control.web_outbox import Message, Outbox
from sdv2_host.control.web_parse import MessageError, parse_message
from sdv2_host.control.web_socket import ClientSocket, CloseCode
from sdv2_host.errors import HostError
from sdv2_host.status import WebCounts


@dataclass(slots=True)
class Client:
    """Who is connected. Fields, per connection."""

    id: int
    name: str
    address: str
    topics: frozenset[Topic]
    outbox: Outbox = field(default_factory=Outbox)

    @property
    def origin(self) -> str:
        return f"page {self.id}"

    def row(self) -> ClientRow:
        return ClientRow(
            id=self.id, client=self.name, address=self.address, subscribe=sorted(self.topics)
        )


@dataclass(frozen=True, slots=True)
class Talk:
    """How clients are talked to. Fields, per process."""

    answers: Answers
    access: Access
    counts: WebCounts
    limits: Limits

    async def introduce(self, socket: ClientSocket) -> Hello | None:
        """The client's hello; None = it did not say one that is fine, and is closed."""
        try:
            async with asyncio.timeout(self.limits.hello_s):
                first = await socket.receive()
        except TimeoutError:
            await socket.drop("late", CloseCode.SLOW)
            return None
        if first is None:
            return None
        try:
            hello = _first_hello(first)
        except MessageError as error:
            count(self.counts, "bad_messages")
            await socket.close(CloseCode.BAD_HELLO, str(error))
            return None
        if not self.access.admits(hello.token):
            await socket.drop("wrong_token" if hello.token else "no_token", CloseCode.TOKEN)
            return None
        return hello

    def take(self, client: Client, message: Message, port: int) -> bool:
        """Does what the message asks for and answers into the client's outbox.

        False where it only says that something asked for has arrived.
        """
        try:
            if isinstance(message, bytes):
                raise MessageError("bad_message", "binary messages go to clients only")
            parsed = parse_message(message)
        except MessageError as error:
            count(self.counts, "bad_messages")
            _tell(client, ErrorReply(id=error.id, code=error.code, message=str(error)))
            return True
        match parsed:
            case Drawn():
                return not client.outbox.drawn()
            case Set():
                done = self.answers.set(parsed, client.origin)
                _tell(client, Ack(id=parsed.id, **done._asdict()))
            case Call():
                self._call(client, parsed)
            case Ping():
                _tell(client, Pong(id=parsed.id, uptime_s=self.answers.uptime_s))
            case Hello():
                client.topics = frozenset(parsed.subscribe)
                self.welcome(client, port)
        return True

    def welcome(self, client: Client, port: int) -> None:
        """The client is told everything, and changes from now on."""
        client.outbox.forget_changes()
        _tell(client, self.answers.welcome(port))
        if "status" in client.topics:
            client.outbox.offer("status", self.answers.status_text())

    def _call(self, client: Client, call: Call) -> None:
        try:
            text = self.answers.call(call, client.origin)
        except HostError as error:
            _tell(client, ErrorReply(id=call.id, code="refused", message=str(error)))
        else:
            _tell(client, Result(id=call.id, text=text))


def _first_hello(message: Message) -> Hello:
    """Raises: MessageError."""
    if isinstance(message, bytes):
        raise MessageError("bad_hello", "expected a hello, as text")
    parsed = parse_message(message)
    if not isinstance(parsed, Hello):
        raise MessageError("bad_hello", "expected hello first")
    if parsed.protocol != PROTOCOL:
        raise MessageError("bad_hello", f"this host speaks protocol {PROTOCOL}")
    return parsed


def _tell(client: Client, message: BaseModel) -> None:
    client.outbox.reply(message.model_dump_json())
