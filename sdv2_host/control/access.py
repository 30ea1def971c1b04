"""Who may talk to the daemon, and where its own programs find it.

Loopback is open to this machine. Any other listening address needs the token, which is made anew
at each start and lies in the runtime file NAME.host of the run directory, readable by this user
alone, with what else a program needs to reach the daemon.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sdv2_host.config import Config
from sdv2_host.errors import RingError
from sdv2_host.ipc.host_file import (
    HOST_NAME,
    HostFile,
    host_file_path,
    host_names,
    is_written_by,
    load_host_file,
    output_stream,
    pack_host_file,
)
from sdv2_host.ipc.ring_leftovers import try_lock_stream
from sdv2_host.ipc.run_dir import (
    check_run_dir,
    default_run_dir,
    make_run_dir,
    remove_file,
    run_dirs,
    write_private_file,
)

TOKEN_BYTES = 32

LOOPBACK_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))


@dataclass(frozen=True, slots=True)
class Access:
    """What a start decided of who may talk. Per process."""

    listen: str
    token: str
    """'' = none is needed."""
    names: frozenset[str] = field(default=LOOPBACK_NAMES)
    """Host names of ours, lower case, as they stand in a Host header."""

    @property
    def is_local(self) -> bool:
        """Only this machine can connect."""
        return not self.token

    def admits(self, token: str) -> bool:
        """Whether the token is ours; in the same time for every wrong one."""
        ours, given = self.token.encode(), token.encode("utf-8", "surrogatepass")
        return not ours or secrets.compare_digest(ours, given)

    def knows_host(self, name: str) -> bool:
        """Whether a Host header with this name (no port) can be meant for us.

        A name that is not ours may be an attacker's that was made to resolve to us. An address
        cannot: so any is fine where others than this machine may connect.
        """
        if name in self.names:
            return True
        return not self.is_local and _is_address(name.removeprefix("[").removesuffix("]"))


def make_access(config: Config) -> Access:
    """What holds from this start on; with a new token where it needs one."""
    if is_loopback(config.listen):
        return Access(config.listen, "", LOOPBACK_NAMES | {_as_host(config.listen)})
    machine = socket.gethostname().lower()
    short = machine.partition(".")[0]
    names = {machine, short, f"{short}.local", _as_host(config.listen)}
    return Access(config.listen, secrets.token_urlsafe(TOKEN_BYTES), LOOPBACK_NAMES | names)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach what listens at this address."""
    if _is_address(listen):
        return ipaddress.ip_address(listen).is_loopback
    return listen.lower() == "localhost"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _as_host(listen: str) -> str:
    """An address as it is written in a URL."""
    return f"[{listen}]" if ":" in listen else listen.lower()


def write_host_file(content: HostFile, run_dir: Path | None = None) -> None:
    """Programs of this user find the daemon from now on.

    Raises:
        RingError: the run directory cannot be used.
    """
    directory = run_dir if run_dir is not None else default_run_dir()
    make_run_dir(directory)
    write_private_file(host_file_path(directory, content.name), pack_host_file(content))


def remove_host_file(name: str, run_dir: Path | None = None) -> None:
    """The file of this process is gone; that of another one stays."""
    directory = run_dir if run_dir is not None else default_run_dir()
    found = load_host_file(name, directory)
    if found is not None and found.pid == os.getpid():
        remove_file(host_file_path(directory, name))


def remove_dead_host_files(run_dir: Path | None = None) -> None:
    """Those of hosts that were killed are gone. Dead is whose lock the system has freed."""
    for directory in (run_dir,) if run_dir is not None else run_dirs():
        for name in host_names((directory,)):
            with contextlib.suppress(RingError, OSError):  # somebody else's: left as it is
                check_run_dir(directory)
                lock = try_lock_stream(output_stream(name), directory)
                if lock is not None:
                    remove_file(host_file_path(directory, name))
                    lock.release()


def read_host_file(name: str, run_dir: Path | None = None) -> HostFile | None:
    """How to reach the daemon of this name; None = none is running.

    Raises:
        RingError: the file is not this user's own, or is open to others.
    """
    if not HOST_NAME.fullmatch(name):
        return None
    for directory in (run_dir,) if run_dir is not None else run_dirs():
        found = load_host_file(name, directory)
        if found is not None and _is_alive(found, directory):
            return found
    return None


def running_hosts(run_dir: Path | None = None) -> list[HostFile]:
    """All daemons of this user that run, by name."""
    directories = (run_dir,) if run_dir is not None else run_dirs()
    found = []
    for name in host_names(directories):
        try:
            host = read_host_file(name, run_dir)
        except RingError:
            continue  # somebody else's doing: not a daemon of ours
        if host is not None:
            found.append(host)
    return found


def _is_alive(found: HostFile, directory: Path) -> bool:
    """`is_written_by` knows no process ids; here a process that is gone ends the matter."""
    return psutil.pid_exists(found.pid) and is_written_by(found, directory)
