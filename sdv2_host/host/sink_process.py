"""One sink of the output as a process that is kept running: the raw feed, the virtual camera.

Nothing of it reaches the daemon but lines of text: a driver that blocks or crashes takes its own
process with it, and that is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sdv2_host.control.console import Console
from sdv2_host.errors import ConfigError, ProtocolError
from sdv2_host.ipc.sink_state import MAX_LINE_BYTES, SinkState, decode_state

CLOSE_S = 2.0
"""Then it is killed."""
RESTART_S = 1.0
MAX_RESTART_S = 60.0
"""The wait doubles until then with each life that was shorter."""
ERR_TAIL_BYTES = 4096


class SinkProcess:
    """Fields, per process: what the sink said last. From `start` to `close`."""

    def __init__(self, console: Console, what: str, module: str, args: Sequence[str]) -> None:
        """`what` it is called in the log; `args` for `python -m module`."""
        self._console = console
        self._what = what
        self._command = (sys.executable, "-m", module, *args)
        self._life: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self._failure = ""
        self.state = SinkState(text="starting")
        self.num_restarts = 0

    async def start(self) -> None:
        """The sink has said what it does.

        Raises:
            ConfigError: it ended instead, which it will every time; its own line.
        """
        self._life = asyncio.create_task(self._run(), name=self._what)
        first = asyncio.create_task(self._first.wait())
        try:
            await asyncio.wait({self._life, first}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            first.cancel()
        if self._life.done():
            self._life.result()
        if self._failure:
            await self.close()
            raise ConfigError(self._failure)

    async def close(self) -> None:
        """The process is gone."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = RESTART_S
        while True:
            begin_s = loop.time()
            why = await self._live()
            if not self._first.is_set():
                self._failure = why
                self._first.set()
                return
            self.num_restarts += 1
            self._hear(SinkState(text=f"{why}; starting again", is_problem=True))
            if loop.time() - begin_s > MAX_RESTART_S:
                wait_s = RESTART_S
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RESTART_S)

    async def _live(self) -> str:
        """One life of the process; why it ended."""
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            start_new_session=sys.platform != "win32",
        )
        assert child.stdout is not None, "opened so"
        assert child.stderr is not None, "opened so"
        tail = asyncio.create_task(_read_tail(child.stderr))
        try:
            while line := await _read_line(child.stdout):
                with contextlib.suppress(ProtocolError):  # a driver that prints
                    self._hear(decode_state(line))
                    self._first.set()
            await child.wait()
            lines = (await tail).decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else f"the {self._what} ended with code {child.returncode}"
        finally:
            tail.cancel()
            await _end(child)

    def _hear(self, state: SinkState) -> None:
        was_problem, self.state = self.state.is_problem, state
        if state.is_problem:
            self._console.note("warning", self._what, state.text)
        elif was_problem:
            self._console.note("info", self._what, state.text)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    """The next line; one that is too long is no line of ours."""
    try:
        return await stream.readline()
    except ValueError:
        return b"\n"


async def _read_tail(stream: asyncio.StreamReader) -> bytes:
    """The last of what comes until the end; a pipe that nobody reads would block its writer."""
    tail = b""
    while part := await stream.read(ERR_TAIL_BYTES):
        tail = (tail + part)[-ERR_TAIL_BYTES:]
    return tail


async def _end(child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None, "opened so"
    child.stdin.close()
    try:
        async with asyncio.timeout(CLOSE_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def sink_args(stream: str, run_dir: Path | None) -> list[str]:
    """The ring to read, as every sink takes it."""
    folder = ["--run-dir", str(run_dir)] if run_dir is not None else []
    return ["--stream", stream, *folder]
