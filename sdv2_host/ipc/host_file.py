"""The runtime file NAME.host of the run directory: how a program reaches a daemon that runs.

Written by the daemon, 0600, read by its own programs and by creative applications. What a killed
daemon left is not believed: it is told by the writer lock of NAME-out, which the system frees, and
by the process that the ring's descriptor names.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_descriptor import (
    MAX_DESCRIPTOR_BYTES,
    descriptor_path,
    lock_path,
    parse_descriptor,
)
from sdv2_host.ipc.ring_layout import MAX_STREAM_NAME
from sdv2_host.ipc.run_dir import check_run_dir, is_lock_held, read_private_file

HOST_FILE_MAX_BYTES = 4096
SUFFIX = ".host"
HOST_NAME = re.compile(rf"[a-z0-9_-]{{1,{MAX_STREAM_NAME - len('-out')}}}")
"""Its rings' names must be streams'."""

_LISTEN = re.compile(r"[0-9A-Za-z.:%_-]{0,255}")
_TOKEN = re.compile(r"[0-9A-Za-z_-]{0,256}")
_VERSION = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")
_MAX_PID = (1 << 32) - 1
_MAX_PORT = 65535
_MAX_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class HostFile:
    """How to reach a running daemon."""

    pid: int
    name: str
    listen: str
    port: int
    token: str
    version: str
    started_ns: int
    """Of the clock of `sdv2_host.clock`."""

    @property
    def address(self) -> str:
        """What a socket of this machine connects to."""
        return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.listen, self.listen)

    @property
    def host(self) -> str:
        """The same, as it stands in a URL."""
        return f"[{self.address}]" if ":" in self.address else self.address.lower()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    @property
    def page_url(self) -> str:
        """With the token where one is needed: in the fragment, which no server or log sees."""
        return f"{self.url}#token={self.token}" if self.token else self.url


def input_stream(name: str) -> str:
    """Of the ring that host `name` reads."""
    return f"{name}-in"


def output_stream(name: str) -> str:
    """Of the ring that host `name` writes; who holds its lock is the host of that name."""
    return f"{name}-out"


def host_file_path(directory: Path, name: str) -> Path:
    return directory / f"{name}{SUFFIX}"


def pack_host_file(content: HostFile) -> bytes:
    """UTF-8 JSON."""
    return json.dumps(asdict(content)).encode()


def parse_host_file(raw: bytes) -> HostFile | None:
    """What the file says; None = it is not one of ours. Unknown keys are for later versions."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    numbers = {"pid": (1, _MAX_PID), "port": (0, _MAX_PORT), "started_ns": (-_MAX_NS, _MAX_NS)}
    texts = {"name": HOST_NAME, "listen": _LISTEN, "token": _TOKEN, "version": _VERSION}
    is_ours = all(_is_number(fields.get(key), *span) for key, span in numbers.items()) and all(
        _is_text(fields.get(key), pattern) for key, pattern in texts.items()
    )
    return HostFile(**{key: fields[key] for key in (*numbers, *texts)}) if is_ours else None


def _is_number(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_text(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def load_host_file(name: str, directory: Path) -> HostFile | None:
    """What the file of this name says, whether the daemon lives or not; None = nothing of ours.

    Raises:
        RingError: the file cannot be read, or others could have written it.
    """
    path = host_file_path(directory, name)
    try:
        found = parse_host_file(read_private_file(path, HOST_FILE_MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RingError(f"cannot read {path}: {error.strerror}; remove it") from error
    return found if found is not None and found.name == name else None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a run directory shows of a host."""

    directory: Path
    file: HostFile | None
    """Of the living host; None = it has not opened its port yet."""


def sight_host(name: str, directories: tuple[Path, ...]) -> Sighting | None:
    """The living host of this name; None = none lives.

    Raises:
        RingError: what is there cannot be trusted, or the name cannot be a host's.
    """
    if not HOST_NAME.fullmatch(name):
        raise RingError(f"host name {name!r}: use 1 to 44 of a-z, 0-9, '-' and '_'")
    for directory in directories:
        if not is_lock_held(lock_path(directory, output_stream(name))):
            continue
        check_run_dir(directory)
        found = load_host_file(name, directory)
        if found is not None and not is_written_by(found, directory):
            found = None
        return Sighting(directory, found)
    return None


def is_written_by(content: HostFile, directory: Path) -> bool:
    """Whether it is the living host's own: its process holds the output ring.

    The lock tells that somebody lives, the ring's descriptor who: after a crash another process
    may have the lock and not yet a file of its own.
    """
    stream = output_stream(content.name)
    if not is_lock_held(lock_path(directory, stream)):
        return False
    try:
        raw = read_private_file(descriptor_path(directory, stream), MAX_DESCRIPTOR_BYTES)
        return parse_descriptor(raw, stream).pid == content.pid
    except (OSError, RingError):
        return True  # no descriptor to be read says nothing; the lock does


def host_names(directories: tuple[Path, ...]) -> list[str]:
    """Names that have a host file, sorted, whether those hosts live or not."""
    paths = (path for directory in directories for path in directory.glob(f"*{SUFFIX}"))
    names = {path.name.removesuffix(SUFFIX) for path in paths}
    return sorted(name for name in names if HOST_NAME.fullmatch(name))
