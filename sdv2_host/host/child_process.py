"""The parent's end of a process of ours that speaks `ipc/messages.py` on its pipes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Sequence

from sdv2_host import errors
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.ipc.messages import MAX_LINE_BYTES, Failed, Stop, ToText, ToWorker, encode

Process = asyncio.subprocess.Process


def module_command(module: str) -> tuple[str, ...]:
    """Runs a module of ours with this interpreter."""
    return (sys.executable, "-m", module)


async def spawn(command: Sequence[str]) -> Process:
    """A process that waits for its first line.

    In a process group of its own: the terminal's Ctrl-C must not reach it while it still starts.
    """
    pipe = asyncio.subprocess.PIPE
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
        return await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, limit=MAX_LINE_BYTES, creationflags=flags
        )
    return await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, limit=MAX_LINE_BYTES, process_group=0
    )


async def send(process: Process, message: ToWorker | ToText) -> None:
    """Raises: ConnectionError, when it is gone."""
    assert process.stdin is not None, "spawned with a pipe"
    process.stdin.write(encode(message))
    await process.stdin.drain()


async def read_line(process: Process, silence_s: float) -> bytes:
    """The next line; empty when it closed its end.

    Raises:
        TimeoutError: not a word for so long.
        ValueError: the line has no end.
    """
    assert process.stdout is not None, "spawned with a pipe"
    # Not wait_for: before 3.12 it loses a cancellation that meets a line.
    async with asyncio.timeout(silence_s):
        return await process.stdout.readline()


async def exit_reason(process: Process, timeout_s: float) -> str:
    """In words, after its stdout closed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await process.wait()
    code = process.returncode
    if code is None:
        return "closed its pipe"
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"


async def end(process: Process, stop_s: float, terminate_s: float) -> None:
    """The process is gone: asked first, then terminated, then killed."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(stop_s):
            await send(process, Stop())
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            async with asyncio.timeout(terminate_s):
                await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def as_host_error(failure: Failed, who: str) -> HostError:
    """The process' own error class where it is one of ours, so that the exit code is right."""
    kind = getattr(errors, failure.error, None)
    if isinstance(kind, type) and issubclass(kind, HostError):
        return kind(failure.message)
    return WorkerError(f"{who} failed with {failure.error}: {failure.message}")
