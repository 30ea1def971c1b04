"""A source in a child process, seen from the program that started it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from sdv2_host.errors import HostError, SourceError

STOP_S = 1.0
"""How long a source may take to close its ring before it is killed."""
OPEN_S = 30.0
"""A camera may take seconds to open, a file on a sleeping disk longer."""


class SourceProcess:
    """Runs `python -m sdv2_host.sources`; ends with this process at the latest.

    Made by `start`; `title` and nominal `fps` are what the source says of itself.
    """

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self.title = ""
        self.fps = 0.0

    @staticmethod
    async def start(stream: str, args: Sequence[str]) -> SourceProcess:
        """The source has been opened; it fills ring `stream` from `begin` on.

        Args:
            args: of `python -m sdv2_host.sources`, without --stream.

        Raises:
            SourceError: it cannot be opened; the child's own line.
        """
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sdv2_host.sources", "--stream", stream, "--watch-stdin", "--hold", *args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A Ctrl-C at the terminal reaches only us, and we stop the child in our order.
            start_new_session=sys.platform != "win32",
        )
        source = SourceProcess(child)
        assert child.stdout is not None
        try:
            async with asyncio.timeout(OPEN_S):
                line = await child.stdout.readline()
        except TimeoutError:
            await source.stop()
            raise SourceError(f"the source did not open within {OPEN_S:.0f} s") from None
        except asyncio.CancelledError:
            await source.stop()
            raise
        if not line:
            raise await source.fault()
        fps, _, title = line.decode(errors="replace").strip().partition(" ")
        source.fps, source.title = float(fps), title
        return source

    def begin(self) -> None:
        """Frames come from now on."""
        assert self._child.stdin is not None
        self._child.stdin.write(b"begin\n")

    async def wait(self) -> None:
        """Returns when the source has come to its end.

        Raises:
            SourceError: it broke.
        """
        if await self._child.wait() != 0:
            raise await self.fault()

    async def fault(self) -> HostError:
        """Why the child ended, once it has."""
        assert self._child.stderr is not None
        text = (await self._child.stderr.read()).decode(errors="replace")
        code = await self._child.wait()
        lines = [line for line in text.splitlines() if line.strip()]
        error = SourceError(lines[-1] if lines else f"the source ended with exit code {code}")
        error.exit_code = code if code > 0 else SourceError.exit_code
        return error

    async def stop(self) -> None:
        """The child is gone and its ring closed."""
        if self._child.returncode is not None:
            return
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
