"""Ticks as an output with its own clock does, and does nothing else: what of a gap is the machine.

`python -m sdv2_host.bench.fault_metronome INTERVAL_NS` prints begin and end of each wait from
tick to tick that was longer than one and a half intervals, until its standard input ends.
"""

from __future__ import annotations

import sys
import threading

from sdv2_host.bench.end_of_input import end_of_input
from sdv2_host.clock import NS_PER_S, now_ns

LATE = 1.5


def tick(interval_ns: int, stopping: threading.Event) -> None:
    """Until told to stop."""
    last_ns = due_ns = now_ns()
    while not stopping.is_set():
        due_ns = max(due_ns + interval_ns, now_ns())
        stopping.wait((due_ns - now_ns()) / NS_PER_S)
        ticked_ns = now_ns()
        if ticked_ns - last_ns > LATE * interval_ns:
            print(last_ns, ticked_ns, flush=True)
        last_ns = ticked_ns


def main(interval_ns: str) -> None:
    tick(int(interval_ns), end_of_input())


if __name__ == "__main__":
    main(*sys.argv[1:])
