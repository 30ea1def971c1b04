"""The raw feed as a player sees it: over a real socket, from a real ring."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.clock import now_ns
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.sinks.child import StateTeller
from sdv2_host.sinks.fit import fit
from sdv2_host.sinks.raw_feed import RawFeed, listen, parse_request
from sdv2_host.types import FrameMeta, Size

SIZE = Size(32, 16)


def picture(number: int, size: Size = SIZE) -> NDArray[np.uint8]:
    shape = (size.height, size.width, 4)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


class Served:
    """A ring that is served, and players of it."""

    def __init__(self, ring: FrameWriter, port: int, said: io.BytesIO) -> None:
        self.ring, self.port, self.said = ring, port, said
        self.players: list[socket.socket] = []

    def publish(self, pixels: NDArray[np.uint8]) -> None:
        height, width = pixels.shape[:2]
        self.ring.publish(pixels, FrameMeta(width, height, capture_ts_ns=now_ns()))

    def play(self, path: str = f"/{SIZE}", host: str = "127.0.0.1") -> io.BufferedReader:
        """The answer from behind its headers on, or what was refused."""
        player = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.players.append(player)
        player.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        stream = player.makefile("rb")
        if not stream.readline().startswith(b"HTTP/1.1 200"):
            return stream
        while stream.readline() != b"\r\n":
            pass
        return stream


def frame_of(stream: io.BufferedReader, size: Size = SIZE) -> NDArray[np.uint8]:
    """The next frame, RGBA."""
    raw = stream.read(size.width * size.height * 4)
    bgra = np.frombuffer(raw, np.uint8).reshape(size.height, size.width, 4)
    return bgra[..., [2, 1, 0, 3]]


def until_frame(stream: io.BufferedReader, wanted: NDArray[np.uint8]) -> int:
    """Frames that came before it."""
    for count in range(100):
        if (frame_of(stream) == wanted).all():
            return count
    raise AssertionError("it never came")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    run_dir = tmp_path / "run"
    with serving(run_dir) as one:
        yield one


@contextmanager
def serving(run_dir: Path) -> Iterator[Served]:
    stop = threading.Event()
    said = io.BytesIO()
    with (
        FrameWriter("feed", run_dir=run_dir) as ring,
        FrameReader("feed", run_dir=run_dir) as reader,
        listen(0) as server,
    ):

        async def run() -> None:
            await RawFeed(reader, server, StateTeller(said)).run(stop.is_set)

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        one = Served(ring, server.getsockname()[1], said)
        try:
            yield one
        finally:
            for player in one.players:
                player.close()
            stop.set()
            thread.join()


def test_every_picture_arrives_exactly_as_bgra(served: Served) -> None:
    stream = served.play()
    for number in range(5):
        served.publish(picture(number))

        assert until_frame(stream, picture(number)) <= 2


def test_a_player_gets_opaque_black_until_there_is_a_picture(served: Served) -> None:
    frame = frame_of(served.play())

    assert (frame == (0, 0, 0, 255)).all()


def test_the_last_picture_comes_again_while_nothing_is_new(served: Served) -> None:
    stream = served.play()
    served.publish(picture(1))
    until_frame(stream, picture(1))
    begin_s = time.monotonic()
    again = [frame_of(stream) for _ in range(3)]

    assert all((frame == picture(1)).all() for frame in again)
    assert 0.15 < time.monotonic() - begin_s < 2


def test_a_new_size_is_scaled_into_the_one_that_was_asked_for(served: Served) -> None:
    stream = served.play()
    served.publish(picture(1))
    until_frame(stream, picture(1))
    other = picture(2, Size(48, 48))
    served.publish(other)

    until_frame(stream, fit(other, SIZE))


def test_two_players_have_two_sizes(served: Served) -> None:
    small, large = served.play(), served.play("/64x32")
    served.publish(picture(1))

    until_frame(small, picture(1))
    wanted = fit(picture(1), Size(64, 32))
    assert any((frame_of(large, Size(64, 32)) == wanted).all() for _ in range(20))


def test_a_player_that_does_not_read_delays_nobody_and_sees_the_newest_when_it_does(
    served: Served,
) -> None:
    size = Size(640, 480)
    slow, quick = served.play(f"/{size}"), served.play()
    for number in range(80):  # 98 MB, more than any socket holds
        served.publish(picture(number))
        until_frame(quick, picture(number))
    begin_s = time.monotonic()
    count = 1
    while not (frame_of(slow, size) == fit(picture(79), size)).all():
        count += 1

    assert count < 40, "it was shown old pictures one by one"
    assert time.monotonic() - begin_s < 10


def test_frames_never_come_faster_than_players_are_told(served: Served) -> None:
    stream = served.play()
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            served.publish(picture(1))
            time.sleep(0.001)

    thread = threading.Thread(target=publish)
    thread.start()
    frame_of(stream)
    begin_s = time.monotonic()
    for _ in range(40):
        frame_of(stream)
    rate = 40 / (time.monotonic() - begin_s)
    stop.set()
    thread.join()

    assert rate < 90


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", "Host: 127.0.0.1", "404"),
        ("/0x16", "Host: 127.0.0.1", "404"),
        ("/9999x16", "Host: localhost:1", "404"),
        ("/32x16", "Host: evil.example", "403"),
        ("/32x16", "Host: 127.0.0.1\r\nOrigin: https://evil.example", "403"),
        ("/32x16", "host: 127.0.0.1\r\nsec-fetch-site: cross-site", "403"),
    ],
)
def test_what_is_no_size_or_comes_from_a_web_page_is_refused(
    path: str, headers: str, status: str
) -> None:
    refusal = parse_request(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())

    assert isinstance(refusal, str)
    assert refusal.startswith(status)


def test_what_ffmpeg_sends_is_answered() -> None:
    headers = "User-Agent: Lavf/59.27.100\r\nAccept: */*\r\nRange: bytes=0-\r\nIcy-MetaData: 1"
    raw = f"GET /640x480 HTTP/1.1\r\n{headers}\r\nHost: 127.0.0.1:9777\r\n\r\n".encode()

    assert parse_request(raw) == Size(640, 480)


def test_the_state_tells_address_and_readers(served: Served) -> None:
    until_frame(served.play(), np.full((16, 32, 4), (0, 0, 0, 255), np.uint8))

    lines = served.said.getvalue().decode().splitlines()
    assert "nobody reads" in lines[0]
    assert f"http://127.0.0.1:{served.port}/WIDTHxHEIGHT, 1 reader" in lines[-1]


def test_a_port_in_use_is_an_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"--obs-port \d+ cannot be used"):
            listen(taken.getsockname()[1])


def test_fit_keeps_the_aspect_between_black_bars() -> None:
    white = np.full((10, 10, 4), 255, np.uint8)

    fitted = fit(white, Size(20, 10))

    assert (fitted[:, 5:15] == 255).all()
    assert (fitted[:, :5] == (0, 0, 0, 255)).all()
    assert (fitted[:, 15:] == (0, 0, 0, 255)).all()


def test_a_transparent_picture_is_scaled_as_what_it_is_on_black() -> None:
    random = np.random.default_rng(2)
    picture = random.integers(0, 256, (8, 8, 4), np.uint8)
    opaque = picture.copy()
    opaque[..., 3] = 255

    scaled = fit(picture, Size(4, 4))

    assert np.array_equal(scaled[..., :3], fit(opaque, Size(4, 4))[..., :3])
    opaque[..., 0] = picture[..., 3]
    assert np.array_equal(scaled[..., 3], fit(opaque, Size(4, 4))[..., 0])
