"""A sink as a process of its own: begins nice, ends when its standard input closes, says its state.

The daemon closes the pipe when it wants the sink to end; the system does when the daemon was
killed: no sink outlives its host.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from sdv2_host.errors import HostError
from sdv2_host.ipc.sink_state import SinkState, encode_state

NICENESS = 5
"""The show comes first: a sink that falls behind loses frames."""


def begin_child() -> threading.Event:
    """The process is nice and deaf to Ctrl-C; the event is set when it has to end."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon closes our stdin in its own order
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_wait_for_end, args=(stop,), name="stdin", daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    return stop


def run_sink(body: Callable[[], None]) -> int:
    """The exit code; an error of the user is one line on stderr."""
    try:
        body()
    except HostError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _wait_for_end(stop: threading.Event) -> None:
    # Not the buffered reader: a thread blocked in it makes the interpreter abort at exit.
    while os.read(0, 4096):
        pass
    stop.set()


class StateTeller:
    """Tells the daemon each state that differs from the last one."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._told: SinkState | None = None

    def tell(self, text: str, is_problem: bool = False) -> None:
        state = SinkState(text=text, is_problem=is_problem)
        if state == self._told:
            return
        self._told = state
        try:
            self._pipe.write(encode_state(state))
            self._pipe.flush()
        except BrokenPipeError:
            pass  # the daemon is gone, and stdin says so too
