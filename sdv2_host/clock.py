"""The one clock: nanoseconds, monotonic, comparable between processes of one machine.

`time.perf_counter_ns` is CLOCK_MONOTONIC on Linux, mach_absolute_time on macOS and
QueryPerformanceCounter on Windows; `time.monotonic` has 15.6 ms steps on Windows before 3.13.
"""

from __future__ import annotations

import time

NS_PER_US = 1_000
US_PER_MS = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def now_ns() -> int:
    """Nanoseconds of the clock that every timestamp in rings and reports is taken from."""
    return time.perf_counter_ns()


def sleep_until_ns(due_ns: int) -> None:
    """Return at or shortly after `due_ns`; at once if it has passed."""
    remaining_ns = due_ns - now_ns()
    if remaining_ns > 0:
        time.sleep(remaining_ns / NS_PER_S)
