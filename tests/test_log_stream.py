"""The log never holds up who writes it: a pipe that nobody empties, and one that nobody reads."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.log_stream import MAX_WAITING, UnwaitingText
from tests.hosts import sdv2_host, unique_name


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_text_comes_out_in_order_and_whole(pipe: tuple[int, int]) -> None:
    stream = UnwaitingText(pipe[1])

    for number in range(100):
        print(f"line {number} ä", file=stream, flush=True)
    stream.write("no line yet")
    stream.drain(10)

    lines = os.read(pipe[0], 100_000).decode().split("\n")
    assert lines == [*(f"line {number} ä" for number in range(100)), "no line yet"]


def test_nobody_waits_for_a_pipe_that_nobody_empties_and_what_was_lost_is_told(
    pipe: tuple[int, int],
) -> None:
    stream = UnwaitingText(pipe[1])
    line = "x" * 999 + "\n"

    for _ in range(MAX_WAITING + 1000):  # three times what a pipe holds and the queue
        stream.write(line)
    stream.drain(0.01)
    told = rb"(\d+) lines of this log were lost: nobody read it in time\n"
    text, num_lost = b"", 0
    while num_lost + text.count(line.encode()) < MAX_WAITING + 1000:
        text += os.read(pipe[0], 1 << 16)
        num_lost = sum(int(number) for number in re.findall(told, text))

    assert num_lost > 0
    assert re.sub(told, b"", text) == line.encode() * (MAX_WAITING + 1000 - num_lost)


def test_a_reader_that_went_away_is_no_error(pipe: tuple[int, int]) -> None:
    stream = UnwaitingText(pipe[1])
    os.close(pipe[0])

    for _ in range(3 * MAX_WAITING):
        print("nobody", file=stream, flush=True)


@pytest.mark.skipif(sys.platform == "win32", reason="fills a pipe as only POSIX systems let one")
def test_a_host_whose_log_nobody_reads_starts_plays_and_ends(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    os.set_blocking(pipe[1], False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe[1], b"x" * 4096)
    os.set_blocking(pipe[1], True)
    name = unique_name()
    options = ["--name", name, "--engine", "passthrough", "--port", "0", "--data-dir", tmp_path]
    command = [sys.executable, "-m", "sdv2_host", "run", *map(str, options)]
    host = subprocess.Popen(command, stderr=pipe[1])
    try:
        deadline_s = time.monotonic() + 60
        while (state := state_of(name)) != "waiting" and time.monotonic() < deadline_s:
            time.sleep(0.2)
        host.terminate()

        assert state == "waiting"
        assert host.wait(20) == 143
    finally:
        host.kill()
        host.wait()


def state_of(name: str) -> str:
    done = sdv2_host("status", "--name", name, "--json")
    return str(json.loads(done.stdout)["state"]) if done.stdout else ""
