"""The host that a soak plays: a process of its own, its log, and what that tells."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sdv2_host.commands.client import Client
from sdv2_host.config import EngineName
from sdv2_host.control.access import read_host_file
from sdv2_host.errors import WorkerError
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.types import Size

START_S = 120.0
STOP_S = 20.0
LOOK_S = 0.05
LOG = "log"
TOLD = ("Traceback", "never retrieved", "ResourceWarning")
"""What lines of a log tell of an error that nobody caught."""


@asynccontextmanager
async def soak_host(
    name: str, engine: EngineName, size: Size, folder: Path
) -> AsyncIterator[tuple[HostFile, asyncio.subprocess.Process]]:
    """A host that is ready, with all its files in the folder; stopped as by a service manager.

    Raises:
        WorkerError: it does not start; the end of its log.
    """
    sized = () if engine == "passthrough" else ("--size", str(size))
    # One thread: two that wait for each other on a machine with other work take many times as long.
    args = ("--name", name, "--engine", engine, *sized, "--threads", "1", "--port", "0")
    folders = ("--data-dir", str(folder), "--recordings-dir", str(folder / "takes"))
    with (folder / LOG).open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sdv2_host", "run", *args, *folders),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield await _opened(name, child, folder / LOG), child
    finally:
        if child.returncode is None:
            child.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def _opened(name: str, child: asyncio.subprocess.Process, log: Path) -> HostFile:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.returncode is None:
        found = read_host_file(name)
        if found is not None and Client(found).get("/api/status")["worker_pid"]:
            return found
        await asyncio.sleep(LOOK_S)
    raise WorkerError(f"the host did not start; its log ends with: {_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return " / ".join(lines[-3:])


def told_errors(folder: Path) -> list[str]:
    """Lines of the host's log that tell of an error that nobody caught."""
    lines = (folder / LOG).read_text(errors="replace").splitlines()
    return [line for line in lines if any(mark in line for mark in TOLD)]
