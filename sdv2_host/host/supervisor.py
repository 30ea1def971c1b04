"""One living worker process: spawn, wait until ready, watch, restart, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.errors import ProtocolError
from sdv2_host.host import child_process
from sdv2_host.host.child_process import Process
from sdv2_host.ipc.frame_ring import remove_stale
from sdv2_host.ipc.messages import (
    Configure,
    Failed,
    FromWorker,
    Ready,
    Report,
    SetParams,
    decode_from_worker,
)
from sdv2_host.params import Params

log = logging.getLogger(__name__)

WORKER = child_process.module_command("sdv2_host.host.worker")
STARTED_ANEW = "is started anew with other settings"
"""Why a worker ended that nothing was wrong with."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the supervisor waits, in seconds."""

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
    """This many deaths within `death_window_s` and the supervisor gives up."""
    death_window_s: float = 60.0
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0


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


class Supervisor:
    """Keeps one worker running with the newest parameters.

    Fields: `_newest` parameters, for the next worker too (per process); `_worker` the living
    process, None between two lives; `num_restarts` and the crash history (per process).
    """

    def __init__(
        self,
        config: Config,
        params: Params,
        on_message: Callable[[FromWorker], None],
        on_death: Callable[[str], None],
        on_refused: Callable[[str], None] = log.warning,
        *,
        run_dir: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`on_message` gets what the worker says, `on_death` why it ended, `on_refused` why no
        worker started with the settings of `reconfigure`; all in the loop."""
        self._config = config
        self._newest = SetParams(version=0, params=params)
        self._changed = asyncio.Event()
        self._on_message = on_message
        self._on_death = on_death
        self._on_refused = on_refused
        self._is_up = False
        self._run_dir = run_dir
        self._limits = limits or Limits()
        self._crash_loop = CrashLoop(self._limits)
        self._worker: Process | None = None
        self._wanted = config
        self._life: asyncio.Task[str] | None = None
        self._failure: Failed | None = None
        self._was_ready = False
        self.num_restarts = 0

    @property
    def worker_pid(self) -> int | None:
        return self._worker.pid if self._worker is not None else None

    def set_params(self, version: int, params: Params) -> None:
        """The worker uses these from its next chunk on; only the newest are sent."""
        self._newest = SetParams(version=version, params=params)
        self._changed.set()

    def reconfigure(self, config: Config) -> None:
        """The worker is stopped and another one started with this.

        If that one cannot start, the one before is started again with its own configuration.
        """
        self._wanted = config
        if self._life is not None:
            self._life.cancel()

    async def run(self) -> str:
        """Keep a worker alive until cancelled; then none is left. Returns why it gave up.

        Raises:
            HostError: no worker ever got ready because of something only the user can change:
                missing weights, full shared memory.
        """
        while True:
            before, self._config = self._config, self._wanted
            self._is_up = False
            reason = await self._live()
            if self._wanted != self._config:
                self._on_death(STARTED_ANEW)
                continue
            if self._failure is not None and not self._was_ready:
                raise child_process.as_host_error(self._failure, "the worker")
            if self._config != before and not self._is_up:
                self._wanted = before
                self._on_refused(f"{reason}; going back to {before.size}")
            self._on_death(reason)
            delay_s = self._crash_loop.delay_s(now_ns())
            if delay_s is None:
                return (
                    f"the worker died {self._limits.max_deaths} times within "
                    f"{self._limits.death_window_s:.0f} s, the last one {reason}; the output "
                    "keeps its last frame; restart the host when the cause is gone"
                )
            log.warning("worker %s; starting another in %.1f s", reason, delay_s)
            await asyncio.sleep(delay_s)
            self.num_restarts += 1

    async def _live(self) -> str:
        """One life, which `reconfigure` may end; why it ended."""
        self._life = asyncio.create_task(self._one_life(), name="worker")
        try:
            await asyncio.wait({self._life})
        finally:
            self._life.cancel()
            await asyncio.wait({self._life})
        return "was stopped" if self._life.cancelled() else self._life.result()

    async def _one_life(self) -> str:
        """Run one worker until it ends; why it did. On cancellation it is stopped."""
        self._failure = None
        worker = await child_process.spawn(WORKER)
        self._worker = worker
        sender = asyncio.create_task(self._send_params(worker))
        try:
            return await self._listen(worker)
        finally:
            sender.cancel()
            await child_process.end(worker, self._limits.stop_s, self._limits.terminate_s)
            self._worker = None
            # A killed worker, or one of a killed daemon before us, cannot have removed its ring.
            remove_stale(self._config.work_stream, self._run_dir)

    async def _send_params(self, worker: Process) -> None:
        newest = self._newest
        first = Configure(
            config=self._config,
            params=newest.params,
            version=newest.version,
            run_dir=str(self._run_dir) if self._run_dir is not None else None,
        )
        self._changed.clear()
        with contextlib.suppress(ConnectionError):  # it died: `_listen` notices and says why
            await child_process.send(worker, first)
            while True:
                await self._changed.wait()
                self._changed.clear()
                await child_process.send(worker, self._newest)
                await asyncio.sleep(self._limits.send_gap_s)

    async def _listen(self, worker: Process) -> str:
        silence_s = self._limits.start_silence_s
        while True:
            try:
                line = await child_process.read_line(worker, silence_s)
                if not line:
                    return await self._reason(worker)
                message = decode_from_worker(line)
            except TimeoutError:
                return f"gave no sign of life for {silence_s:g} s"
            except (ValueError, ProtocolError) as error:  # ValueError: the line has no end
                return f"broke the protocol ({error})"
            if isinstance(message, Ready):
                self._was_ready = True
                self._is_up = True
                silence_s = self._limits.silence_s
            elif isinstance(message, Report):
                chunk_s = sum(message.spans_ms.values()) / 1000
                silence_s = max(self._limits.silence_s, self._limits.silence_chunks * chunk_s)
            elif isinstance(message, Failed):
                self._failure = message
            self._on_message(message)

    async def _reason(self, worker: Process) -> str:
        """In words, after its stdout closed."""
        reason = await child_process.exit_reason(worker, self._limits.stop_s)
        if self._failure is not None:
            return f"failed with {self._failure.error}: {self._failure.message}"
        return reason
