"""HostProcess: the daemon as a process of its own, started from an app that is not Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdv2_host.errors import HostError


class CommandError(HostError):
    """There is no sdv2-host where the text says."""


def find_command(text: str) -> tuple[str, ...]:
    """The words that start sdv2-host.

    `text` is the program itself, a folder that holds `.venv` (or is one), or '' = what is on PATH.

    Raises:
        CommandError: naming where was looked.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One snapshot."""

    is_running: bool
    is_stopping: bool
    pid: int
    """0 = not running."""
    sentence: str
    """What it does, or why it ended, for a person."""
    exit_code: int | None = None
    """Of the last one that ended; None = none did, or it runs."""


class HostProcess:
    """At most one daemon at a time. No method waits; a thread of its own does.

    Hosts that somebody else started are never stopped.
    """

    def start(self, command: Sequence[str], args: Sequence[str], cwd: Path | None = None) -> None:
        """`command args` will run; nothing happens while one runs or is being stopped.

        `command` as of `find_command`; `args` such as ("run", "--name", "sdv2").
        """
        raise NotImplementedError

    def stop(self) -> None:
        """The daemon is asked to end, and killed when it has not within a grace time."""
        raise NotImplementedError

    def restart(self, command: Sequence[str], args: Sequence[str], cwd: Path | None = None) -> None:
        """Stopped as by `stop`, then started as by `start`."""
        raise NotImplementedError

    @property
    def status(self) -> ProcessStatus:
        raise NotImplementedError

    def log(self) -> list[str]:
        """The last lines that it wrote, oldest first."""
        raise NotImplementedError

    def close(self, *, stops: bool) -> None:
        """For the app's end: with `stops` the daemon is asked to end, else it goes on alone."""
        raise NotImplementedError
