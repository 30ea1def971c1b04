"""What a soak knows of the host's two processes: memory, descriptors, threads, segments, files.

All from outside, so that nothing of it is the host's own word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from sdv2_host.bench.hour_trace import open_handles
from sdv2_host.ipc.run_dir import default_run_dir

MIB = 2**20
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """One process at one moment."""

    pid: int
    rss_mib: float
    num_fds: int
    """Of Windows: handles."""
    num_threads: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The host at one moment."""

    at_s: float
    """Of the run."""
    frame: int
    """Sent by then."""
    daemon: ProcessMark
    worker: ProcessMark | None
    """None = none is ready."""
    num_segments: int
    """That ever were this host's and are there; 0 where the system does not show them."""
    num_files: int
    """Of this host, in the run folder."""
    fps: float
    """Fresh pictures a second since the mark before."""
    is_rest: bool
    """Nobody was there but the source and a viewer, and nothing was asked for."""


def mark_process(pid: int) -> ProcessMark | None:
    """The process now; None = it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            rss_mib = round(process.memory_info().rss / MIB, 3)
            return ProcessMark(pid, rss_mib, open_handles(process), process.num_threads())
    except psutil.NoSuchProcess:
        return None


class Belongings:
    """Files and shared memory of one host name. Fields, per run: every segment seen so far."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._segments: set[str] = set()

    def look(self) -> tuple[int, int]:
        """Segments that are there, of all that were ever named; files in the run folder."""
        files = list(default_run_dir().glob(f"{self._name}[-.]*"))
        for path in files:
            if path.suffix == ".json":
                self._segments.add(_segment_of(path))
        self._segments.discard("")
        there = [name for name in self._segments if (_SHARED_MEMORY / name).exists()]
        return len(there), len(files)


def _segment_of(descriptor: Path) -> str:
    try:
        content: Mapping[str, object] = json.loads(descriptor.read_text())
    except (OSError, ValueError):  # replaced or removed while it was read
        return ""
    return str(content.get("segment", ""))
