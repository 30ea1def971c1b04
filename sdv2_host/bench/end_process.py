"""Ending and stopping a process from outside, as accidents do. The one place that knows systems."""

from __future__ import annotations

import os
import signal
import sys

if sys.platform == "win32":
    import psutil


def kill_at_once(pid: int) -> None:
    """The process ends wherever it is, without a word."""
    if sys.platform == "win32":
        psutil.Process(pid).kill()
    else:
        os.kill(pid, signal.SIGKILL)


def suspend(pid: int) -> None:
    """The process stands still, and keeps all that it has."""
    if sys.platform == "win32":
        psutil.Process(pid).suspend()
    else:
        os.kill(pid, signal.SIGSTOP)
