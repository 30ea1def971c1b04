"""Ctrl-C and SIGTERM as an event of the loop, so that everything closes in its order."""

from __future__ import annotations

import asyncio
import signal
from types import FrameType


class Interrupt:
    """Set by the first SIGINT or SIGTERM; made inside the running loop, lives as long as it."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self._number = 0
        self._loop = asyncio.get_running_loop()
        # signal.signal and not loop.add_signal_handler, which Windows does not have.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    @property
    def exit_code(self) -> int:
        """0, or what a shell expects of a process that a signal ended: 130 or 143."""
        return 128 + self._number if self._number else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._number = self._number or number
        self._loop.call_soon_threadsafe(self.stopped.set)
