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
from typing import Final

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
_WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
"""Names that `psutil.cpu_times` has for time in which a core is taken; not all on every system."""


def usable_cores() -> int:
    """That this process may run on: fewer than there are in containers."""
    return len(_affinity()) or os.cpu_count() or 1


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
    usable = [cores[index] for index in _affinity() if index < len(cores)] or cores
    taken_s = sum(getattr(core, name, 0.0) for core in usable for name in _WORKING)
    own = psutil.Process().cpu_times()
    return float(taken_s - own.user - own.system)


class FreeCores:
    """How many threads of one computation have a core each, `most` at most. Used by one thread.

    Few at once when others come, more again when they have been away for a while.

    Fields: where it reads; what it read last, and when; the number; looks in a row at which one
    more would have had room.
    """

    def __init__(
        self,
        most: int,
        others_s: Callable[[], float] = seconds_of_others,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        """`most` is the number of cores, which are taken for free at first."""
        self.most = most
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
            self._num_free = self._judged(self.most - others)
        return self._num_free

    def _judged(self, free: float) -> int:
        """`free` cores, on average since the last look."""
        if (few := max(1, math.floor(free + CROWDED))) < self._num_free:
            self._num_roomy = 0
            return few
        more = min(self.most, math.floor(free + 1 - ROOM))
        self._num_roomy = self._num_roomy + 1 if more > self._num_free else 0
        return more if self._num_roomy >= LOOKS_WITH_ROOM else self._num_free


def _affinity() -> list[int]:
    """Indices of the cores; empty where the system does not say."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return []
