"""Who comes in by a door, and that neither strangers nor a short shortage shut it."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import NamedTuple

import pytest

from sdv2_host.errors import ConfigError, ProtocolError
from sdv2_host.stages import channel as channel_module
from sdv2_host.stages import door as door_module
from sdv2_host.stages.channel import Channel, connect_to_driver, greet_driver
from sdv2_host.stages.door import MAX_WAITING, Door
from sdv2_host.stages.messages import Hello, Pulse, encode
from sdv2_host.stages.route import MAX_PLACES
from tests.stages.gloo_places import DEADLINE_S, eventually

if sys.platform != "win32":
    import resource

TOKEN = "a token of more than sixteen"
MAX_BYTES = 1000
HELLO = Hello(version="1", ticket=-1, device="cpu", machine="there", pid=1)


class Came(NamedTuple):
    channel: Channel
    hello: Hello


class Entrance(NamedTuple):
    door: Door
    came: SimpleQueue[Came]


@contextmanager
def entrance() -> Iterator[Entrance]:
    came: SimpleQueue[Came] = SimpleQueue()
    door = Door(("127.0.0.1", 0), TOKEN, MAX_BYTES, lambda *both: came.put(Came(*both)))
    try:
        yield Entrance(door, came)
    finally:
        door.close()


def says_hello(door: Door, hello: Hello = HELLO) -> Channel:
    channel = connect_to_driver(door.address, TOKEN, MAX_BYTES)
    channel.send(encode(hello))
    return channel


def test_who_knows_the_token_and_says_hello_comes_in() -> None:
    with entrance() as (door, came):
        rank = says_hello(door)
        driver, hello = came.get(timeout=DEADLINE_S)
        driver.send(b"welcome")

        assert hello == HELLO
        assert rank.receive().header == b"welcome"
        rank.close()
        driver.close()


def test_who_says_anything_else_first_is_sent_away() -> None:
    with entrance() as (door, came):
        rank = connect_to_driver(door.address, TOKEN, MAX_BYTES)
        rank.send(encode(Pulse(busy_ms=0, longest_ms=0)))

        with pytest.raises(ProtocolError, match="ended"):
            rank.receive()
        assert came.empty()
        rank.close()


def test_strangers_that_say_nothing_do_not_keep_others_out_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel_module, "GREETING_S", 0.5)
    with entrance() as (door, came), ExitStack() as strangers:
        for _ in range(2 * MAX_WAITING):
            strangers.enter_context(socket.create_connection(door.address))

        def comes_in() -> bool:
            try:
                says_hello(door).close()
            except ProtocolError:
                return False
            return True

        assert eventually(comes_in)
        assert came.get(timeout=DEADLINE_S).hello == HELLO


def test_who_knows_the_token_and_then_says_nothing_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door_module, "HELLO_S", 0.05)

    with entrance() as (door, came):
        silent = connect_to_driver(door.address, TOKEN, MAX_BYTES)

        with pytest.raises(ProtocolError, match="ended"):
            silent.receive()
        assert came.empty()
        silent.close()


def test_as_many_as_a_ring_may_have_come_in_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "GREETING_S", DEADLINE_S)

    with entrance() as (door, came):
        waiting = [socket.create_connection(door.address) for _ in range(MAX_PLACES)]
        for sock in waiting:
            greet_driver(sock, TOKEN, MAX_BYTES).send(encode(HELLO))

        hellos = [came.get(timeout=DEADLINE_S).hello for _ in range(MAX_PLACES)]

    assert hellos == [HELLO] * MAX_PLACES


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_door_that_cannot_take_a_connection_takes_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with entrance() as (door, came), socket.socket() as sock:
        with no_more_files():
            sock.connect(door.address)
            assert eventually(lambda: "could not be taken" in caplog.text)
        greet_driver(sock, TOKEN, MAX_BYTES).send(encode(HELLO))

        assert came.get(timeout=DEADLINE_S).hello == HELLO


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open no file."""
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nobody_comes_in_by_a_door_that_is_closed() -> None:
    with entrance() as (door, _):
        address = door.address
        door.close()

        def is_shut() -> bool:
            try:
                connect_to_driver(address, TOKEN, MAX_BYTES).close()
            except ProtocolError:
                return True
            return False

        assert eventually(is_shut)


def test_who_was_being_greeted_does_not_come_in_after_the_door_is_closed() -> None:
    with entrance() as (door, came):
        rank = connect_to_driver(door.address, TOKEN, MAX_BYTES)
        door.close()
        rank.send(encode(HELLO))

        with pytest.raises(ProtocolError, match="ended"):
            rank.receive()
        assert came.empty()
        rank.close()


def test_an_address_that_cannot_be_listened_on_is_named() -> None:
    with entrance() as (door, _):
        host, port = door.address

        with pytest.raises(ConfigError, match=f"cannot listen on {host}:{port}"):
            Door((host, port), TOKEN, MAX_BYTES, print)
