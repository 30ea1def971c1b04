"""Cores of the CPU: which this process may use, and how many of them others leave to it.

Threads that share one computation wait for each other after every operation of it, and spin while
they do. Where another process is at work on the core of one of them, all stand still until that
one's turn comes. Chunks of the embedded model at 256x256 on two cores of an AMD EPYC, in ms:

    others take, of a core      0    0.3   0.5   0.7   1.0
    two threads                115   131   146   211   560, and 4400 where both get one core
    one thread                 164   180   178   167   200
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Final, TypeVar

import psutil

from sdv2_host.clock import NS_PER_S, now_ns

PERIOD_NS: Final = NS_PER_S // 2
"""Between two looks at what others take: the system counts in hundredths of a second."""
CROWDED: Final = 0.4
"""Of a core: a thread whose core others take more of is in the way. Others that would fill it get
half of it beside a thread that spins."""
ROOM: Final = 0.65
"""Of a core: one more thread has use for it."""
LOOKS_WITH_ROOM: Final = 4
"""In a row, before there is one more thread: other programs pause, too."""
MOST_SPINS: Final = 10_000
"""Turns that a waiting thread spins before it sleeps: a few tenths of a millisecond, more than
goes by between two operations."""
_T = TypeVar("_T")
_WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
"""Names that `psutil.cpu_times` has for time in which a core is taken; not all on every system."""


def allowed_cores() -> int:
    """That this process may run on: in containers fewer than there are."""
    return len(_affinity()) or os.cpu_count() or 1


def usable_cores() -> int:
    """Of those, as many as it may keep busy.

    A share of a core is none: threads that use up a container's time before its period is over
    all stand still until the next one, for tens of milliseconds.
    """
    return max(1, math.floor(min(allowed_cores(), cpu_quota())))


def cpu_quota(
    proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> float:
    """Cores' worth of time that Linux lets this process have (`docker run --cpus`, systemd's
    CPUQuota); infinity where nothing is said.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max, in every group up to the root)
    and scheduler/sched-bwc.rst (cpu.cfs_quota_us, cpu.cfs_period_us).
    """
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = mount
        elif "cpu" in controllers.split(","):
            root = mount / controllers
        else:
            continue
        # A container may see its own group as the root, under a path that is the host's.
        group = root / path.lstrip("/")
        folders = [group, *group.parents[: len(group.parts) - len(root.parts)]]
        quota = min([quota, *(_quota_of(folder) for folder in folders)])
    return quota


def spin_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Threads of torch do not spin for milliseconds, which is a hundred times what it gains.

    For this process, before it imports torch, and for its children. GNU's OpenMP heeds it, which
    torch has on Linux. What the user has said about spinning stays.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", str(MOST_SPINS))


def seconds_of_others() -> float:
    """What others have worked on the cores that this process may use, since some time."""
    cores = psutil.cpu_times(percpu=True)
    usable = _of_ours(cores, _core_numbers())
    taken_s = sum(getattr(core, name, 0.0) for core in usable for name in _WORKING)
    own = psutil.Process().cpu_times()
    return float(taken_s - own.user - own.system)


def _of_ours(cores: list[_T], numbers: list[int]) -> list[_T]:
    """Of what is told of each core those that this process may run on.

    A system with some cores off tells of the others, by their numbers; one in a container may tell
    of the container's alone and number them anew, which says as much as all of them do.
    """
    allowed = set(_affinity())
    if not allowed or not allowed <= set(numbers):
        return cores
    return [core for number, core in zip(numbers, cores, strict=False) if number in allowed]


def _core_numbers() -> list[int]:
    """Of the cores that the system tells of, in order."""
    if sys.platform != "linux":
        return []
    lines = Path("/proc/stat").read_text().splitlines()
    names = (line.split()[0] for line in lines if line.startswith("cpu"))
    return [int(name[3:]) for name in names if name != "cpu"]


class FreeCores:
    """How many threads of one computation have a core each, `most` at most. Used by one thread.

    Few at once when others come, more again when they have been away for a while.

    Fields: the cores; where it reads; what it read last, and when; the number; looks in a row at
    which one more would have had room.
    """

    def __init__(
        self,
        most: int,
        num_cores: int,
        others_s: Callable[[], float] = seconds_of_others,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        """`num_cores` are shared with others; so many as are wanted are taken for free at first."""
        self.most = most
        self._num_cores = num_cores
        self._others_s = others_s
        self._clock = clock
        self._last_s = others_s()
        self._last_ns = clock()
        self._num_free = most
        self._num_roomy = 0

    def num_free(self) -> int:
        """1..`most`. Looks anew twice a second; in between it costs nothing."""
        at_ns = self._clock()
        elapsed_ns = at_ns - self._last_ns
        if elapsed_ns >= PERIOD_NS:
            others_s = self._others_s()
            others = (others_s - self._last_s) / (elapsed_ns / NS_PER_S)
            self._last_s, self._last_ns = others_s, at_ns
            self._num_free = self._judged(self._num_cores - others)
        return self._num_free

    def _judged(self, free: float) -> int:
        """`free` cores, on average since the last look."""
        if (few := max(1, math.floor(free + CROWDED))) < self._num_free:
            self._num_roomy = 0
            return few
        more = min(self.most, math.floor(free + 1 - ROOM))
        self._num_roomy = self._num_roomy + 1 if more > self._num_free else 0
        return more if self._num_roomy >= LOOKS_WITH_ROOM else self._num_free


def _quota_of(folder: Path) -> float:
    """Of one control group; infinity = it has none."""
    try:
        if (version_2 := folder / "cpu.max").is_file():
            quota, period = version_2.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
    except OSError:
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def _affinity() -> list[int]:
    """Indices of the cores; empty where the system does not say."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return []
