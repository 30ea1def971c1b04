"""What ends a host in good order, and what does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import asyncio
from sdv2_host.commands.interrupt import Interrupt

async def run():
    interrupt = Interrupt()
    print("ready", flush=True)
    await interrupt.stopped.wait()
    return interrupt.exit_code

raise SystemExit(asyncio.run(run()))
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def say(program: subprocess.Popen[bytes], text: bytes) -> None:
    assert program.stdin is not None
    program.stdin.write(text)
    program.stdin.flush()


@pytest.mark.parametrize("text", [b"stop\n", b"hello\n stop\r\n", b"x" * 9000 + b"\nstop\n"])
def test_a_line_stop_ends_it_with_exit_code_0(
    program: subprocess.Popen[bytes], text: bytes
) -> None:
    say(program, text)

    assert program.wait(30) == 0


@pytest.mark.parametrize("text", [b"", b"stop", b"stopping\nnonstop\n"])
def test_the_end_of_its_input_and_other_lines_do_not_end_it(
    program: subprocess.Popen[bytes], text: bytes
) -> None:
    say(program, text)
    assert program.stdin is not None
    program.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.3)
    program.send_signal(signal.SIGTERM)

    assert program.wait(30) == 128 + signal.SIGTERM
