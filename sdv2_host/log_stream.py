"""Standard error that never waits for whoever reads it.

A pipe that nobody empties, or a terminal that is held with Ctrl-S, stops a program at its next line
of log. A show must not stop for its log.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import queue
import sys
import threading

MAX_WAITING = 2000
"""Pieces of text, mostly lines, that are kept for a reader that is slow; later ones are lost."""
DRAIN_S = 0.5
"""For what waits when the process ends."""


class UnwaitingText(io.TextIOBase):
    """What is written goes to `fd` from a thread of its own, in order, line by line or as flushed.

    Lost lines are counted, and told once there is room again. Fields: what is no whole line yet;
    lines that wait for the thread, and who waits for them; how many were lost since that was told.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lock = threading.Lock()
        self._open_line = ""
        self._waiting: queue.Queue[str | threading.Event] = queue.Queue(MAX_WAITING)
        self._num_lost = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._open_line += text
            if text.endswith("\n"):
                self._pass_on()
        return len(text)

    def flush(self) -> None:
        """What was written is on its way. Does not wait for it, see `drain`."""
        with self._lock:
            self._pass_on()

    def drain(self, timeout_s: float) -> None:
        """All that was written is out, or the time is over."""
        self.flush()
        is_out = threading.Event()
        with contextlib.suppress(queue.Full):
            self._waiting.put(is_out, timeout=timeout_s)
            is_out.wait(timeout_s)

    def _pass_on(self) -> None:
        if not self._open_line:
            return
        try:
            self._waiting.put_nowait(self._open_line)
        except queue.Full:
            self._num_lost += 1
        self._open_line = ""

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more: what comes is lost
            while True:
                text = self._waiting.get()
                if isinstance(text, threading.Event):
                    text.set()
                    continue
                self._put(text)
                with self._lock:
                    num_lost, self._num_lost = self._num_lost, 0
                if num_lost:
                    self._put(f"{num_lost} lines of this log were lost: nobody read it in time\n")

    def _put(self, text: str) -> None:
        raw = text.encode(errors="backslashreplace")
        while raw:
            raw = raw[os.write(self._fd, raw) :]


def log_without_waiting() -> None:
    """Standard error and what logs there wait for nobody, for the rest of the process."""
    if sys.stderr is None or isinstance(sys.stderr, UnwaitingText):  # None: pythonw
        return
    sys.stderr.flush()
    stream = UnwaitingText(sys.stderr.fileno())
    sys.stderr = stream
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)
    atexit.register(stream.drain, DRAIN_S)


def drain_log() -> None:
    """Before an end that runs no exit handlers."""
    if isinstance(sys.stderr, UnwaitingText):
        sys.stderr.drain(DRAIN_S)
