"""How programs that a bench starts know that it is over, however it came to its end."""

from __future__ import annotations

import os
import threading


def end_of_input() -> threading.Event:
    """Set when this process's standard input ends, whatever came through it until then."""
    ended = threading.Event()

    def listen() -> None:
        # os.read and not sys.stdin: its lock would be held when the interpreter ends.
        while os.read(0, 1):
            pass
        ended.set()

    # A thread, as only a read that blocks can wait for the end of a pipe on every system.
    threading.Thread(target=listen, name="end of input", daemon=True).start()
    return ended
