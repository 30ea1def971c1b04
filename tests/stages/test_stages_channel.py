"""Messages arrive whole, and only from who knows the token; nothing else takes memory or time."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import ProtocolError
from sdv2_host.stages import channel as channel_module
from sdv2_host.stages.channel import MAGIC, Channel, greet_driver, greet_rank
from sdv2_host.stages.messages import (
    MAX_HEADER_BYTES,
    Begin,
    Pulse,
    decode_from_rank,
    decode_to_rank,
    encode,
)

TOKEN = "a token of more than sixteen"
MAX_BYTES = 1_000_000
HALF_RIGHT = st.fixed_dictionaries(
    {"kind": st.sampled_from(["begin", "pulse", "picture", "chunk", "hello"])},
    optional={
        "epoch": st.one_of(st.integers(), st.text(max_size=3), st.floats()),
        "place": st.integers(),
        "plan": st.dictionaries(st.text(max_size=3), st.integers()),
        "shape": st.lists(st.integers(), max_size=5),
        "busy_ms": st.floats(),
    },
).map(lambda fields: json.dumps(fields).encode())


class Ends(NamedTuple):
    driver: Channel
    rank: Channel


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    return near, far


@pytest.fixture
def ends() -> Iterator[Ends]:
    near, far = connected()
    with ThreadPoolExecutor(1) as pool:
        driver = pool.submit(greet_rank, near, TOKEN, MAX_BYTES)
        rank = greet_driver(far, TOKEN, MAX_BYTES)
        both = Ends(driver.result(), rank)
    yield both
    both.driver.close()
    both.rank.close()


def test_messages_arrive_whole_and_in_order(ends: Ends) -> None:
    payload = bytes(range(256)) * 2000

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: [ends.driver.send(b"%d" % n, payload[n:]) for n in range(5)])
        received = [ends.rank.receive() for _ in range(5)]

    assert [one.header for one in received] == [b"0", b"1", b"2", b"3", b"4"]
    assert [bytes(one.payload) for one in received] == [payload[n:] for n in range(5)]


def test_messages_of_many_threads_do_not_mix(ends: Ends) -> None:
    def send(n: int) -> None:
        ends.rank.send(b"%d" % n, b"%d" % n * 50_000)

    with ThreadPoolExecutor(5) as pool:
        pool.map(send, [*range(5)] * 4)
        received = [ends.driver.receive() for _ in range(20)]

    assert all(one.payload == one.header * 50_000 for one in received)


def test_a_rank_with_a_wrong_token_is_refused() -> None:
    near, far = connected()

    with far, ThreadPoolExecutor(1) as pool:
        driver = pool.submit(greet_rank, near, TOKEN, MAX_BYTES)
        rank = rank_greets(far, "another token, as long")

        with pytest.raises(ProtocolError, match="wrong token"):
            driver.result()
        near.close()
        with pytest.raises(ProtocolError):
            rank.result()


def rank_greets(far: socket.socket, token: str) -> Future[Channel]:
    """The rank's greeting, in a thread of its own."""
    done: Future[Channel] = Future()

    def greet() -> None:
        try:
            done.set_result(greet_driver(far, token, MAX_BYTES))
        except ProtocolError as error:
            done.set_exception(error)

    threading.Thread(target=greet, daemon=True).start()
    return done


def test_a_driver_that_only_repeats_what_a_rank_proved_is_refused() -> None:
    near, far = connected()
    rank = rank_greets(far, TOKEN)

    with near:
        near.sendall(MAGIC + bytes(32))
        answer = near.recv(64, socket.MSG_WAITALL)
        near.sendall(answer[32:])

        with pytest.raises(ProtocolError, match="wrong token"):
            rank.result(timeout=30)
    assert TOKEN.encode() not in answer


def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "GREETING_S", 0.05)
    near, far = connected()

    with far, near, pytest.raises(ProtocolError, match="greeting"):
        greet_rank(near, TOKEN, MAX_BYTES)


@pytest.mark.skipif(sys.platform == "win32", reason="all its sockets are of TCP")
def test_a_socket_that_is_none_of_tcp_any_more_is_a_protocol_error() -> None:
    """As macOS says of one whose other end has gone since the greeting."""
    near, far = socket.socketpair()

    with near, far, ThreadPoolExecutor(1) as pool:
        driver = pool.submit(greet_rank, near, TOKEN, MAX_BYTES)

        with pytest.raises(ProtocolError, match="no greeting"):
            greet_driver(far, TOKEN, MAX_BYTES)
        with pytest.raises(ProtocolError, match="no greeting"):
            driver.result()


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ((MAX_HEADER_BYTES + 1, 0), "header of"),
        ((2, MAX_BYTES + 1), "payload of"),
        ((2, 2**63), "payload"),
    ],
)
def test_sizes_are_refused_before_memory_is_taken(sizes: tuple[int, int], what: str) -> None:
    near, far = connected()
    channel = Channel(near, MAX_BYTES)

    far.sendall(struct.pack("<IQ", *sizes))

    with far, pytest.raises(ProtocolError, match=what):
        channel.receive()


def test_closing_frees_who_waits(ends: Ends) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ends.driver.receive)
        ends.driver.close()

        with pytest.raises(ProtocolError, match="ended"):
            waiting.result(timeout=30)
    with pytest.raises(ProtocolError, match="ended"):
        ends.rank.receive()


def test_what_is_encoded_is_decoded() -> None:
    begin = Begin(epoch=3, group=2, place=1, plan={"cuts": [0, 1]}, lanes=4)
    pulse = Pulse(busy_ms=1.5, longest_ms=20, block_ms=0.5)

    assert decode_to_rank(encode(begin)) == begin
    assert decode_from_rank(encode(pulse)) == pulse


@given(st.one_of(st.binary(max_size=200), st.text(max_size=50).map(str.encode), HALF_RIGHT))
def test_whatever_comes_is_a_message_or_a_protocol_error(header: bytes) -> None:
    for decode in (decode_to_rank, decode_from_rank):
        with contextlib.suppress(ProtocolError):
            decode(header)


def test_half_a_message_is_a_sign_of_life() -> None:
    near, far = connected()
    channel = Channel(near, MAX_BYTES)
    came = channel.heard_ns
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(channel.receive)
        far.sendall(struct.pack("<IQ", 2, 4) + b"{}" + b"ab")
        while channel.heard_ns == came or received.running() is False:
            time.sleep(0.001)
        half = channel.heard_ns
        assert not received.done()
        far.sendall(b"cd")

        assert received.result(timeout=30).payload == b"abcd"
    assert came < half <= channel.heard_ns
    channel.close()
    far.close()
