"""The daemon's workers: how they are started, how long it waits for them and how often it starts
another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sdv2_host.clock import NS_PER_S
from sdv2_host.host.child_process import module_command


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the supervisor waits, in seconds, and for what."""

    worker: tuple[str, ...] = module_command("sdv2_host.host.worker")
    """The command of a worker; a bench has one that fails when it is told to."""

    start_silence_s: float = 90.0
    """Before ready: longest time without a word. Loading may take any time, silence may not."""
    silence_s: float = 20.0
    """After ready: longest time without a report or heartbeat."""
    silence_chunks: float = 5.0
    """The same in chunks, where that is longer: on a machine that is starved of CPU a chunk may
    take many seconds, and a restart would not make it faster."""
    stop_s: float = 0.9
    """From the stop message to terminate."""
    terminate_s: float = 0.3
    """From terminate to kill. Both together stay under the 2 s that a shutdown may take."""
    send_gap_s: float = 0.004
    """At most one change of parameters in this time: faders send a thousand a second."""
    max_deaths: int = 5
    """This many deaths within `death_window_s` and the engine is given up."""
    death_window_s: float = 60.0
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0

    def silence_after_s(self, chunk_s: float) -> float:
        """Longest time without a word of a worker whose chunks take so long."""
        return max(self.silence_s, self.silence_chunks * chunk_s)

    def told_deaths(self, last: str) -> str:
        """How often it died, and why it did the last time."""
        often = f"{self.max_deaths} times within {self.death_window_s:.0f} s"
        return f"died {often}, the last time it {last}"


@dataclass(slots=True)
class CrashLoop:
    """Decides about restarts. Pure: the caller brings the clock. Lifetime: a process."""

    limits: Limits
    deaths_ns: deque[int] = field(default_factory=deque)

    def delay_s(self, now: int) -> float | None:
        """After a death at `now`: seconds until the next start, or None to give up.

        The delay grows fourfold with each death inside the window.
        """
        self.deaths_ns.append(now)
        while self.deaths_ns[0] < now - self.limits.death_window_s * NS_PER_S:
            self.deaths_ns.popleft()
        num_deaths = len(self.deaths_ns)
        if num_deaths >= self.limits.max_deaths:
            return None
        growth: float = 4.0 ** (num_deaths - 1)
        return min(self.limits.first_delay_s * growth, self.limits.max_delay_s)

    def forget(self) -> None:
        """What is started next has not died yet."""
        self.deaths_ns.clear()
