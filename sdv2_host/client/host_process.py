"""HostProcess: the daemon as a process of its own, started from an app that is not Python."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from sdv2_host.client.host_log import HostLog
from sdv2_host.errors import RingError
from sdv2_host.ipc.host_file import sight_host
from sdv2_host.ipc.run_dir import run_dirs

_log = logging.getLogger(__name__)

LOOK_S = 0.1
GRACE_S = 10.0
"""For an orderly end, which waits for the chunk in hand and closes files; then it is killed."""
CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Launch:
    """How a daemon is started."""

    host: str
    """Its name, as `args` give it too."""
    command: tuple[str, ...]
    """As of `host_command.find_command`."""
    args: tuple[str, ...]
    """Such as ("run", "--name", "sdv2")."""
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One snapshot."""

    is_running: bool = False
    is_stopping: bool = False
    pid: int = 0
    """0 = not running. Where a launcher starts the daemon, as on Windows, the launcher's."""
    sentence: str = "Not started from here."
    """What it does, or why it ended or was not started, for a person."""
    exit_code: int | None = None
    """Of the last one that ended; None = none did, or one runs."""


class HostProcess:
    """At most one daemon at a time. No method waits; a thread of its own does.

    Hosts that somebody else started are never stopped, and none is started beside them.
    """

    def __init__(self, *, run_dir: Path | None = None, grace_s: float = GRACE_S) -> None:
        """`run_dir` None: wherever hosts of this user are."""
        self._directories = (run_dir,) if run_dir is not None else run_dirs()
        self._grace_s = grace_s
        self._status = ProcessStatus()
        self._orders: deque[Launch | None] = deque()
        """What to do next, from the application: a start, or None = stop."""
        self._is_closing = False
        # Per daemon; of the thread.
        self._process: subprocess.Popen[bytes] | None = None
        self._log: HostLog | None = None
        self._next: Launch | None = None
        self._kill_s = 0.0
        # A thread, because starting and ending a process take time, and the cook has none.
        self._thread = threading.Thread(target=self._run, name="host process", daemon=True)
        self._thread.start()

    @property
    def status(self) -> ProcessStatus:
        return self._status

    def log(self) -> list[str]:
        """The last lines that it wrote, oldest first."""
        log = self._log
        return list(log.lines.copy()) if log is not None else []

    def start(self, launch: Launch) -> None:
        """The daemon will run: at once, or when the one that is stopping has ended.

        Nothing happens while one runs.
        """
        self._orders.append(launch)

    def stop(self) -> None:
        """The daemon is asked to end, and killed when it has not within a grace time."""
        self._orders.append(None)

    def restart(self, launch: Launch) -> None:
        """Stopped as by `stop` if it runs, then started as by `start`."""
        self._orders.append(None)
        self._orders.append(launch)

    def close(self, *, stops: bool) -> None:
        """For the app's end: with `stops` the daemon is asked to end, else it goes on alone."""
        if stops:
            self._orders.append(None)
        self._is_closing = True
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._is_closing:
            try:
                self._turn()
            # As in the courier: an error of ours that ended the thread would leave a Start that
            # does nothing and says nothing. It becomes the sentence, and the next order is obeyed.
            except Exception as error:
                self._status = replace(self._status, sentence=_fault(error))
                _log.exception("the host's process could not be looked after")
            time.sleep(LOOK_S)
        while self._orders:
            self._obey(self._orders.popleft())
        if self._log is not None:
            self._log.close()

    def _turn(self) -> None:
        if self._process is not None:
            self._watch(self._process)
        while self._orders:
            self._obey(self._orders.popleft())
        if self._process is None and self._next is not None:
            launch, self._next = self._next, None
            self._launch(launch)

    def _obey(self, order: Launch | None) -> None:
        if order is None:
            self._next = None
            self._ask_to_end()
        elif self._process is None or self._status.is_stopping:
            self._next = order

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        assert self._log is not None, "made with the process"
        self._log.look()
        code = process.poll()
        if code is not None:
            self._log.finish()
            sentence = _why_ended(code, self._log.last_line, was_asked=self._status.is_stopping)
            self._status = ProcessStatus(sentence=sentence, exit_code=code)
            self._process = None
            _close_stdin(process)
        elif self._status.is_stopping and time.monotonic() > self._kill_s:
            _kill(process)

    def _launch(self, launch: Launch) -> None:
        other = self._other(launch.host)
        if other:
            self._status = replace(self._status, sentence=other)
            return
        log = HostLog()
        try:
            self._process = subprocess.Popen(
                [*launch.command, *launch.args],
                stdin=subprocess.PIPE,
                stdout=log.write_fd,
                stderr=log.write_fd,
                cwd=launch.cwd,
                env=_environment(),
                creationflags=_CREATION_FLAGS,
                start_new_session=sys.platform != "win32",
            )
        except OSError as error:
            log.finish()
            sentence = f"The host cannot be started: {launch.command[0]}: {error.strerror}."
            self._status = ProcessStatus(sentence=sentence)
            return
        finally:
            log.started()
        self._log = log
        self._status = ProcessStatus(
            is_running=True, pid=self._process.pid, sentence=f"Host '{launch.host}' was started."
        )

    def _other(self, host: str) -> str:
        """Why none may be started: somebody else's host has the name; '' = it is free."""
        try:
            sighting = sight_host(host, self._directories)
        except RingError as error:
            return f"The host cannot be started: {error}."
        if sighting is None:
            return ""
        pid = f" (process {sighting.file.pid})" if sighting.file is not None else ""
        return (
            f"Host '{host}' runs already and was not started from here{pid}: it is used as it is. "
            "To start it from here, stop it where it was started, or end that process."
        )

    def _ask_to_end(self) -> None:
        process = self._process
        if process is None or self._status.is_stopping:
            return
        assert process.stdin is not None, "a pipe"
        with contextlib.suppress(OSError):  # it ends already
            process.stdin.write(b"stop\n")
            process.stdin.flush()
        self._kill_s = time.monotonic() + self._grace_s
        self._status = replace(self._status, is_stopping=True, sentence="The host is stopping.")


def _fault(error: Exception) -> str:
    return f"An error of this component, please report it: {type(error).__name__}: {error}."


def _why_ended(code: int, last_line: str, *, was_asked: bool) -> str:
    if was_asked and code == 0:
        return "Stopped."
    said = f" Its last line: {last_line}" if last_line else ""
    if was_asked:
        return f"Stopped, not in good order: {_code(code)}.{said}"
    return f"The host has ended: {_code(code)}.{said}"


def _code(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"


def _environment() -> dict[str, str]:
    """Ours without what is meant for the application's own Python, and with UTF-8."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None, "a pipe"
    with contextlib.suppress(OSError):
        process.stdin.close()


if sys.platform == "win32":
    # No console window, and no Ctrl-C of ours.
    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP

    def _kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()

else:
    _CREATION_FLAGS = 0

    def _kill(process: subprocess.Popen[bytes]) -> None:
        """Its workers too: they are of its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
