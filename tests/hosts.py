"""Starting `sdv2-host` as a user would, and looking for what it left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from sdv2_host.ipc.frame_ring import default_run_dir

SHM = Path("/dev/shm")


def unique_name() -> str:
    """A host name that nobody else uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


def sdv2_host(*args: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sdv2_host", *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def orphans() -> set[str]:
    """Shared-memory segments that no living process has mapped: what a dead one left behind.

    Looked for again for a while: a segment that is just being made is not mapped yet. Empty where
    the system does not tell.
    """
    deadline_s = time.monotonic() + 2
    found = _unmapped()
    while found and time.monotonic() < deadline_s:
        time.sleep(0.1)
        found &= _unmapped()
    return found


def _unmapped() -> set[str]:
    if not SHM.is_dir():
        return set()
    names = {name for name in os.listdir(SHM) if name.startswith("lfr.")}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        if not names:
            break
        try:
            text = maps.read_text()
        except OSError:
            continue  # ended meanwhile, or not ours
        names -= {name for name in names if name in text}
    return names


def descriptors(name: str) -> list[str]:
    """Files in the run directory that say a ring of host `name` exists."""
    return [path.name for path in default_run_dir().glob(f"{name}-*") if path.suffix != ".lock"]


def children(pid: int) -> list[int]:
    """Process ids of all descendants; empty where the system does not tell."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


class RunningHost:
    """One `sdv2-host` command in the background; its stderr is read line by line."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sdv2_host", *args],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[str] = []

    def __enter__(self) -> RunningHost:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process.wait()

    def wait_for(self, text: str) -> str:
        """The first line that holds `text`; fails when the command ends without one."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if text in line:
                return line.rstrip()
        raise AssertionError(f"ended without {text!r}: {self.lines}")

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """(exit code, seconds it took) after the signal."""
        begin = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(20)
        return code, time.monotonic() - begin
