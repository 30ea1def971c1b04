"""Tells the user what a host is doing: one line per life event, on stderr."""

from __future__ import annotations

import asyncio
import sys
import time

from sdv2_host.host.daemon import Daemon
from sdv2_host.status import HostState, HostStatus

POLL_S = 0.25
REPEAT_S = 1.0
"""On something that is no terminal, progress is repeated at most this often."""
CLEAR_LINE = "\r\033[K"


class Narrator:
    """Prints; on a terminal, progress rewrites its line. Lives as long as a command."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._has_open_line = False
        self._progress = ("", 0.0)
        self._progress_s = 0.0

    def say(self, text: str) -> None:
        """One line of its own."""
        clear = CLEAR_LINE if self._has_open_line else ""
        self._has_open_line = False
        print(f"{clear}{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def progress(self, text: str, fraction: float) -> None:
        """How far something is; a `ProgressFn`."""
        line = f"{text} {100 * fraction:3.0f} %"
        if self._is_live:
            print(f"{CLEAR_LINE}         {line}", end="", file=sys.stderr, flush=True)
            self._has_open_line = True
            return
        is_new = text != self._progress[0] or fraction >= 1.0 > self._progress[1]
        if is_new or time.monotonic() - self._progress_s > REPEAT_S:
            self._progress_s = time.monotonic()
            self.say(line)
        self._progress = (text, fraction)

    def close(self) -> None:
        """The line that progress rewrote is gone."""
        if self._has_open_line:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
            self._has_open_line = False

    async def follow(self, daemon: Daemon) -> None:
        """Says every change of the daemon's state, until cancelled."""
        told: HostState = HostState.STARTING
        while True:
            status = daemon.snapshot()
            if status.state != told:
                told = status.state
                self.say(describe(status))
            await asyncio.sleep(POLL_S)


def describe(status: HostStatus) -> str:
    """The state in one line."""
    if status.state == HostState.LIVE:
        return f"live: {status.detail}"
    return f"{status.state.value}: {status.detail}"


def summary(status: HostStatus) -> str:
    """What a run came to, in one line."""
    latency = status.latency_ms
    return (
        f"{status.frames_in} frames in, {status.frames_out} out, {status.dropped} dropped, "
        f"{status.fps:.1f} fps, latency {latency.p50:.0f} ms median, {latency.p95:.0f} ms p95"
    )
