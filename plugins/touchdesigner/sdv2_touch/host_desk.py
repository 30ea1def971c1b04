"""HostDesk: Start, Stop and Restart of the daemon, and its log."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import td

from sdv2_host.client.host_command import find_command
from sdv2_host.client.host_process import HostProcess, Launch

_processes: dict[int, HostProcess] = {}
"""By COMP id. Per process of TouchDesigner, and the only such table: TouchDesigner makes a new
extension whenever a DAT is edited, and a daemon has to outlive the object that started it."""


@dataclass(slots=True)
class HostDesk:
    """Fields, per extension: the component and its id; whether the daemon ends with it; the log
    that was shown last."""

    owner: td.COMP
    _id: int = field(init=False)
    _stops: bool = True
    _shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._id = self.owner.id

    def start(self) -> None:
        """The daemon of the pages will run. Raises: CommandError."""
        self._process().start(self._launch())

    def stop(self) -> None:
        """The daemon that was started here will end; others are left alone."""
        self._process().stop()

    def restart(self) -> None:
        """Raises: CommandError."""
        self._process().restart(self._launch())

    @property
    def sentence(self) -> str:
        """How the daemon does that was started here; '' = none was."""
        process = _processes.get(self._id)
        return process.status.sentence if process is not None else ""

    def tick(self) -> None:
        """The DAT `log` has the daemon's newest lines."""
        self._stops = bool(self.owner.par.Autostop.eval())
        process = _processes.get(self._id)
        if process is None:
            return
        lines = process.log()
        if lines != self._shown:
            self._shown = lines
            dat = self.owner.opex("log")
            assert isinstance(dat, td.DAT), "log is no DAT any more"
            dat.text = "\n".join(lines)

    def close(self) -> None:
        """For good, with or without the component: the daemon ends if Autostop said so."""
        process = _processes.pop(self._id, None)
        if process is not None:
            process.close(stops=self._stops)

    def close_if_gone(self) -> None:
        """Without the component nobody could stop the daemon any more: then as `close`. A new
        extension of the component goes on with it."""
        if not self.owner.valid:
            self.close()

    def _process(self) -> HostProcess:
        if self._id not in _processes:
            _processes[self._id] = HostProcess()
        return _processes[self._id]

    def _launch(self) -> Launch:
        par = self.owner.par
        host = str(par.Host.eval())
        args = ["run", "--name", host, "--engine", str(par.Engine.eval())]
        size = str(par.Enginesize.eval()).strip()
        if size:
            args += ["--size", size]
        args += split_arguments(str(par.Arguments.eval()))
        return Launch(host, find_command(str(par.Command.eval())), tuple(args))


def split_arguments(text: str) -> list[str]:
    """The words of a command line; quotes hold words together, a backslash is one (Windows)."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split = True
    lexer.escape = ""
    lexer.commenters = ""
    return list(lexer)
