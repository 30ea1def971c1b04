"""HostLog: the file that a daemon writes its output to, and its last lines.

A file and not a pipe: the daemon may outlive the application, and a pipe that nobody reads any more
would end it in the middle of a show.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections import deque
from pathlib import Path

MAX_LINES = 400
MAX_LINE_CHARS = 2000
LOOK_BYTES = 16 * 1024
"""At one look: the application's thread waits for the interpreter as long as lines are split."""
_PREFIX, _SUFFIX = "sdv2-host-", ".log"


class HostLog:
    """Fields, per process: the file, open for reading; the last lines; the beginning of one."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        _remove_left()
        handle, name = tempfile.mkstemp(_SUFFIX, _PREFIX)
        self._path = Path(name)
        self.write_fd = handle
        """For the daemon; closed by `started`."""
        self._reader = self._path.open("rb", buffering=0)
        if sys.platform != "win32":
            self._path.unlink()  # gone with the last of us who has it open
        self._rest = b""

    def started(self) -> None:
        """The daemon has the file; our writing end is closed."""
        os.close(self.write_fd)

    def look(self) -> bool:
        """Takes what is new, as far as is taken at once; whether there may be more."""
        # A C library may remember that the end was reached (Wine's does), until the file is moved.
        self._reader.seek(0, os.SEEK_CUR)
        chunk = self._reader.read(LOOK_BYTES)
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        self.lines.extend(map(_as_text, whole))
        if len(self._rest) > MAX_LINE_CHARS:
            self.lines.append(_as_text(self._rest))
            self._rest = b""
        return len(chunk) == LOOK_BYTES

    def finish(self) -> None:
        """The daemon has ended: takes all that is left."""
        while self.look():
            pass
        if self._rest:
            self.lines.append(_as_text(self._rest))
        self._rest = b""
        self.close()

    def close(self) -> None:
        self._reader.close()
        if sys.platform == "win32":
            with contextlib.suppress(OSError):  # the daemon goes on; another start removes it
                self._path.unlink()

    @property
    def last_line(self) -> str:
        """The last one with anything in it."""
        return next((line for line in reversed(self.lines) if line.strip()), "")


def _as_text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")[:MAX_LINE_CHARS]


def _remove_left() -> None:
    """Files of daemons that outlived their application; Windows refuses those still written."""
    if sys.platform == "win32":
        for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                path.unlink()
