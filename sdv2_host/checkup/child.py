"""A program of ours that answers one question in a process of its own: JSON in, JSON out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from sdv2_host.errors import HostError

SHOWN_CHARS = 300


class NoAnswerError(HostError):
    """The program did not answer; its last line says why."""


def ask_child(module: str, asked: object, timeout_s: float, args: Sequence[str] = ()) -> Any:
    """What `python -m MODULE ARGS` answers to `asked`; it is gone then.

    Raises:
        NoAnswerError: it failed, crashed, or took longer than `timeout_s`.
    """
    command = [sys.executable, "-m", module, *args]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"no answer within {timeout_s:g} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit code {done.returncode}"
        raise NoAnswerError(last[:SHOWN_CHARS])
    return json.loads(done.stdout)
