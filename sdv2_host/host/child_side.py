"""The child's end of a process that the daemon starts: how it speaks, fails and ends."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from sdv2_host.errors import HostError
from sdv2_host.ipc.messages import Failed, FromText, FromWorker, encode
from sdv2_host.log_stream import drain_log, log_without_waiting

log = logging.getLogger(__name__)

Send = Callable[[FromWorker | FromText], None]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MAX_FAILURE_CHARS = 2000


class ChildExit:
    """Exit codes."""

    DONE = 0
    FAILED = 1
    ABANDONED = 3


def run_child(name: str, body: Callable[[Send], None]) -> int:
    """Runs `body` with a way to speak to the daemon, and tells the daemon if it fails.

    The exit code. `name` marks what the process logs.
    """
    replies = _take_stdout()
    # The terminal sends Ctrl-C to every process in it; the daemon decides when this one stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_without_waiting()
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("SDV2_LOG", "WARNING").upper(),
        format=f"%(levelname)s {name}: %(message)s",
    )

    def send(message: FromWorker | FromText) -> None:
        replies.write(encode(message))

    try:
        body(send)
    except BrokenPipeError:  # the daemon is gone
        return ChildExit.ABANDONED
    except HostError as error:
        return _report_failure(send, error)
    except Exception as error:  # the edge of this process: whatever it is, the daemon must know
        log.exception("%s failed", name)
        return _report_failure(send, error)
    return ChildExit.DONE


def _report_failure(send: Send, error: Exception) -> int:
    message = str(error) or type(error).__name__
    try:
        send(Failed(error=type(error).__name__, message=message[:_MAX_FAILURE_CHARS]))
    except BrokenPipeError:
        return ChildExit.ABANDONED
    return ChildExit.FAILED


def _take_stdout() -> BinaryIO:
    """A private, unbuffered file on what was stdout; fd 1 is stderr from here on.

    Libraries print to stdout (and C code writes to fd 1), which must not reach the protocol.
    """
    private = os.dup(1)
    os.set_inheritable(private, False)
    os.dup2(2, 1)
    return os.fdopen(private, "wb", buffering=0)


def die_with_daemon(is_on: bool) -> None:
    """While on, the kernel kills this process with the daemon (Linux; elsewhere the inbox does).

    For loading: importing torch holds the interpreter for seconds, in which no thread can see
    that stdin closed. Only while there is nothing that must be closed in order.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if is_on else 0)


def exit_child(code: int) -> NoReturn:
    """Ends the process.

    Not sys.exit: a thread still reads stdin, and the interpreter aborts when it cannot close a
    file that another thread reads. Whatever had to be closed is closed by now.
    """
    logging.shutdown()
    drain_log()
    os._exit(code)
