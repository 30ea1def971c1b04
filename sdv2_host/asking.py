"""Other programs that are asked something: what they print, within a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

ASK_S = 10.0
Ask = Callable[[Sequence[str]], str | None]
"""Runs a command and gives what it prints; None = it is not there, failed or did not answer."""

if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW
else:
    _CREATION_FLAGS = 0


def ask(command: Sequence[str], timeout_s: float = ASK_S) -> str | None:
    """An `Ask`."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            creationflags=_CREATION_FLAGS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
