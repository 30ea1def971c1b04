"""Who is let in: those that know the token and are of our kind; strangers take no room for long."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator

import pytest

from sdv2_host.errors import ConfigError, ProtocolError
from sdv2_host.stages import channel as channel_module
from sdv2_host.stages.channel import Channel, connect_to_driver
from sdv2_host.stages.door import MAX_WAITING, Door
from sdv2_host.stages.messages import Hello, Pulse, encode

TOKEN = "for those who knock at it"
HELLO = Hello(version="1", ticket=-1, device="cpu", machine="here", pid=1)
WAIT_S = 30.0

Came = queue.SimpleQueue[tuple[Channel, Hello]]


@pytest.fixture
def came() -> Came:
    return queue.SimpleQueue()


@pytest.fixture
def door(came: Came) -> Iterator[Door]:
    door = Door(("127.0.0.1", 0), TOKEN, 1000, lambda channel, hello: came.put((channel, hello)))
    yield door
    door.close()


def test_who_knows_the_token_and_says_hello_is_let_in(door: Door, came: Came) -> None:
    channel = connect_to_driver(door.address, TOKEN, 1000)
    channel.send(encode(HELLO))

    assert came.get(timeout=WAIT_S)[1] == HELLO


def test_who_says_anything_else_first_is_sent_away(door: Door, came: Came) -> None:
    channel = connect_to_driver(door.address, TOKEN, 1000)
    channel.send(encode(Pulse(busy_ms=0, longest_ms=0)))

    with pytest.raises(ProtocolError, match="ended"):
        channel.receive()
    assert came.empty()


def test_who_has_another_token_is_sent_away(door: Door, came: Came) -> None:
    with pytest.raises(ProtocolError, match="the token may be another one"):
        connect_to_driver(door.address, TOKEN + "!", 1000)
    assert came.empty()


def test_strangers_that_say_nothing_take_so_many_places_and_no_more(
    door: Door, came: Came, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "GREETING_S", 0.5)
    silent = [socket.create_connection(door.address) for _ in range(MAX_WAITING)]
    for one in silent:
        one.recv(1)  # it is being greeted

    with socket.create_connection(door.address) as another:
        assert another.recv(1) == b""
    for one in silent:
        while one.recv(100):  # until the door has had enough of it
            pass
        one.close()
    connect_to_driver(door.address, TOKEN, 1000).send(encode(HELLO))
    assert came.get(timeout=WAIT_S)[1] == HELLO


def test_an_address_that_is_taken_is_told(door: Door) -> None:
    with pytest.raises(ConfigError, match="use an address of this machine and a port that is free"):
        Door(door.address, TOKEN, 1000, lambda channel, hello: None)
