"""Whatever asks the host to end, as an event of the loop, so that everything closes in its order.

    Ctrl-C, SIGTERM       a person at the terminal, a service manager
    Ctrl-Break (SIGBREAK) the same on Windows, and the closing of its console window
    a line "stop"         on standard input where that is a pipe: the program that started us

The line is there for Windows: events of a console reach only programs on the same console, and a
program with windows has none.
Source: https://learn.microsoft.com/en-us/windows/console/console-process-groups
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import threading
from types import FrameType

STOP_LINE = b"stop"
MAX_LINE_BYTES = 4096


class Interrupt:
    """Set by the first of those; made inside the running loop, lives as long as it."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self._number = 0
        self._loop = asyncio.get_running_loop()
        # signal.signal and not loop.add_signal_handler, which Windows does not have.
        numbers = [signal.SIGINT, signal.SIGTERM]
        if sys.platform == "win32":
            numbers.append(signal.SIGBREAK)
        for number in numbers:
            signal.signal(number, self._on_signal)
        if _is_stdin_piped():
            # A thread, because the loop of Windows cannot wait for a pipe that it did not open. It
            # ends with the process, or when nobody holds the other end: then the host goes on.
            threading.Thread(target=self._listen, name="stop line", daemon=True).start()

    @property
    def exit_code(self) -> int:
        """0, or what a shell expects of a process that a signal ended: 130 or 143."""
        return 128 + self._number if self._number else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._number = self._number or number
        self._loop.call_soon_threadsafe(self.stopped.set)

    def _listen(self) -> None:
        line = b""
        # os.read and not sys.stdin: its lock would be held when the interpreter ends.
        while chunk := os.read(0, MAX_LINE_BYTES):
            *lines, line = (line + chunk).split(b"\n")
            if STOP_LINE in (one.strip() for one in lines):
                with contextlib.suppress(RuntimeError):  # the loop is over already
                    self._loop.call_soon_threadsafe(self.stopped.set)
            line = line[:MAX_LINE_BYTES]


def _is_stdin_piped() -> bool:
    """Not where it is closed: its number may be another file's by now."""
    return sys.stdin is not None and stat.S_ISFIFO(os.fstat(0).st_mode)
