"""A host that faults can be done to, its source and a viewer: each a process, in a folder."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import sdv2_host
from sdv2_host.bench.end_process import kill_at_once
from sdv2_host.bench.fault_measure import is_recovery, trusted
from sdv2_host.bench.fault_orders import Orders
from sdv2_host.bench.fault_viewer import Sight
from sdv2_host.bench.faulty_host import Setup
from sdv2_host.client.host_process import HostProcess, Launch
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.commands.client import Client, NotRunningError
from sdv2_host.config import Config, EngineName
from sdv2_host.control.access import read_host_file
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.ipc.ring_descriptor import descriptor_path, is_segment_name
from sdv2_host.ipc.shm import LINUX_SEGMENT_DIR, SegmentStore
from sdv2_host.types import Size

NAME = "faults"
"""Of the host: its run directory is its own."""
START_S = 120.0
LOOK_S = 0.01
END_S = 10.0
SETTLE_S = 3.0
ROOT = Path(sdv2_host.__file__).parent.parent
"""Processes are started here, so that they run this code."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The show."""

    engine: EngineName
    size: Size
    fps: float = 30.0
    """Of the source."""
    output_fps: float = 30.0
    """Of the host's own clock; 0 = it follows the source."""
    silence_s: float = 2.0
    """How long a worker may be silent until it counts as hung."""

    @property
    def interval_ns(self) -> int:
        """Between two pictures on the output."""
        return round(NS_PER_S / (self.output_fps or self.fps))


class Belongings(NamedTuple):
    """Of the host's process; a show that goes on must not need more and more."""

    files: int
    threads: int
    processes: int
    segments: int


class Stage:
    """From `open` to `close`, which is also for one that could not be opened.

    Fields: the processes; all that the viewer saw and how long a metronome had to wait; every
    segment that a ring of it was in and every process that was its worker, to look for at the end.
    """

    def __init__(self, plan: StagePlan, folder: Path) -> None:
        """`folder` is empty and stays the caller's."""
        self.plan = plan
        self.run_dir = folder / "run"
        self.data_dir = folder / "data"
        self.orders = Orders(folder / "orders")
        self.sights: list[Sight] = []
        self.pauses: list[tuple[int, int]] = []
        """Of the metronome: begin and end."""
        self._setup_path = folder / "setup.json"
        for one in (self.run_dir, self.data_dir, folder / "orders"):
            one.mkdir(mode=0o700)
        config = Config(
            name=NAME,
            engine=plan.engine,
            width=plan.size.width,
            height=plan.size.height,
            threads=1,  # threads that wait for each other on a busy machine take much longer
            output_fps=plan.output_fps,
            port=0,
            data_dir=str(self.data_dir),
        )
        setup = Setup(
            config=config,
            run_dir=self.run_dir,
            orders=folder / "orders",
            silence_s=plan.silence_s,
        )
        self._setup_path.write_text(setup.model_dump_json())
        self.config = config
        self.host = HostProcess(run_dir=self.run_dir)
        self._source: subprocess.Popen[bytes] | None = None
        self._viewer: subprocess.Popen[bytes] | None = None
        self._metronome: subprocess.Popen[bytes] | None = None
        self._segments: set[str] = set()
        self._pids: set[int] = set()

    def open(self) -> None:
        """The show is live. Raises: WorkerError."""
        self.start_host()
        self.start_source(self.plan.size)
        self._viewer = self._begin("fault_viewer", self.config.output_stream, str(self.run_dir))
        threading.Thread(target=self._read_sights, args=(self._viewer,), daemon=True).start()
        self._metronome = self._begin("fault_metronome", str(self.plan.interval_ns))
        threading.Thread(target=self._read_pauses, args=(self._metronome,), daemon=True).start()
        begin_ns = now_ns()
        if not self.until(lambda: self.has_recovered(begin_ns), START_S):
            said = "; ".join(self.host.log()[-3:])
            raise WorkerError(f"the host was not live within {START_S:.0f} s: {said}")
        self.until(lambda: self._pid_of_worker() is not None, SETTLE_S)

    def close(self) -> list[str]:
        """All is ended; what of it was left that should not be. Segments are removed now."""
        self._look()
        self.host.stop()
        self.until(lambda: not self.host.status.is_running, END_S)
        self.host.close(stops=True)
        for process in (self._viewer, self._source, self._metronome):
            if process is not None:
                _end(process)
        time.sleep(0.2)
        processes = [f"process {pid}" for pid in sorted(self._pids) if _is_running(pid)]
        segments = [name for name in sorted(self._segments) if _is_there(name)]
        for name in segments:
            SegmentStore().unlink(name)
        files = [f"file {path.name}" for path in sorted(self.run_dir.iterdir())]
        return [*processes, *(f"segment {name}" for name in segments), *files]

    # What can be asked.

    @property
    def client(self) -> Client:
        """Raises: NotRunningError."""
        found = read_host_file(NAME, self.run_dir)
        if found is None:
            raise NotRunningError(f"host {NAME} is not running")
        return Client(found)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/api/status")
        return found

    def why_gone(self) -> str:
        """Why the host cannot be asked any more; '' = it can."""
        if not self.host.status.is_running:
            return self.host.status.sentence
        try:
            self.status()
        except HostError as error:
            return str(error)
        return ""

    def worker_pid(self) -> int:
        """Of the worker in use. Raises: WorkerError."""
        if not self.until(lambda: self._pid_of_worker() is not None, START_S):
            raise WorkerError("the host has no worker")
        pid = self._pid_of_worker()
        assert pid is not None, "it was there"
        return pid

    def has_recovered(self, healed_ns: int) -> bool:
        """A styled picture of what the source sent after that time is on the output."""
        # From the newest: the rest of a long show need not be looked at.
        for sight in reversed(self.sights):
            if sight.seen_ns < healed_ns:
                return False
            if is_recovery(sight, healed_ns) and trusted([sight]):
                return True
        return False

    def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether the condition held within that time."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            self._note_segments()
            time.sleep(LOOK_S)
        return True

    def belongings(self) -> Belongings:
        """The least of some looks: what is on its way out is not counted."""
        self._look()
        looks = []
        for _ in range(5):
            looks.append(self._belongings())
            time.sleep(0.1)
        return Belongings(*(min(values) for values in zip(*looks, strict=True)))

    def said_since(self, begin: int) -> list[str]:
        """Warnings and errors that its log has after so many lines."""
        lines = self.host.log()[begin:]
        return [line for line in lines if line.startswith(("WARNING", "ERROR"))]

    # What can be done.

    def start_host(self) -> None:
        """It is being started, as an application that is not Python does it."""
        command = (sys.executable, "-m", "sdv2_host.bench.faulty_host")
        self.host.start(Launch(NAME, command, (str(self._setup_path),), cwd=ROOT))

    def host_again(self) -> subprocess.Popen[bytes]:
        """Another one of the same name is being started."""
        return self._begin("faulty_host", str(self._setup_path))

    def start_source(self, size: Size) -> None:
        """It plays. Raises: WorkerError."""
        self._source = self.source_again(size)
        assert self._source.stdout is not None, "a pipe"
        if not self._source.stdout.readline():
            raise WorkerError("the source could not be started")

    def source_again(self, size: Size) -> subprocess.Popen[bytes]:
        """Another one is being started on the same ring."""
        args = (self.config.input_stream, str(self.run_dir), str(size), str(self.plan.fps))
        return self._begin("fault_source", *args)

    def kill_source(self) -> None:
        assert self._source is not None, "it was started"
        kill_at_once(self._source.pid)
        _end(self._source)

    def segment(self, stream: str) -> str:
        """Name of the segment that the ring is in now. Raises: OSError, when it has none."""
        return str(json.loads(descriptor_path(self.run_dir, stream).read_text())["segment"])

    def _begin(self, module: str, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"sdv2_host.bench.{module}", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # they say nothing, but why they end
            cwd=ROOT,
            # Ctrl-C is for the bench, which ends them itself; without their show no round is whole.
            start_new_session=sys.platform != "win32",
        )

    def _read_sights(self, viewer: subprocess.Popen[bytes]) -> None:
        assert viewer.stdout is not None, "a pipe"
        for line in viewer.stdout:
            self.sights.append(Sight(*json.loads(line)))

    def _read_pauses(self, metronome: subprocess.Popen[bytes]) -> None:
        assert metronome.stdout is not None, "a pipe"
        for line in metronome.stdout:
            begin, end = line.split()
            self.pauses.append((int(begin), int(end)))

    def _pid_of_worker(self) -> int | None:
        try:
            pid: int | None = self.status()["worker_pid"]
        except NotRunningError:
            return None
        if pid is not None:
            self._pids.add(pid)
        return pid

    def _belongings(self) -> Belongings:
        process = psutil.Process(self.host.status.pid)
        if sys.platform == "win32":
            files = process.num_handles()
        else:
            files = process.num_fds()
        maps = Path(f"/proc/{process.pid}/maps")
        segments = maps.read_text().count("/lfr.") if maps.exists() else 0
        return Belongings(files, process.num_threads(), len(process.children()), segments)

    def _look(self) -> None:
        self._note_segments()
        with contextlib.suppress(psutil.NoSuchProcess):
            host = psutil.Process(self.host.status.pid)
            self._pids |= {host.pid, *(child.pid for child in host.children(recursive=True))}

    def _note_segments(self) -> None:
        self._segments.update(_segments_named(self.run_dir))


def _segments_named(run_dir: Path) -> Iterator[str]:
    for path in run_dir.glob("*.json"):
        try:
            name = str(json.loads(path.read_text())["segment"])
        except (OSError, ValueError):  # replaced or removed while it was read
            continue
        if is_segment_name(name):
            yield name


def _is_there(segment: str) -> bool:
    """Only Linux tells."""
    return sys.platform == "linux" and (LINUX_SEGMENT_DIR / segment).exists()


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asked by the end of its input, then killed."""
    assert process.stdin is not None, "a pipe"
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
