"""Keeps a worker at work, and prepares the next one beside it when another engine is wanted.

An engine that dies too often is given up: the safe one stands in for it, until a person asks for
it again or for another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.host.engine_desk import told
from sdv2_host.host.limits import CrashLoop, Limits
from sdv2_host.host.stand_in import RETRY, StandIn, is_safe_engine, stand_in_for
from sdv2_host.host.worker_life import Place, WorkerLife
from sdv2_host.ipc.frame_ring import remove_stale
from sdv2_host.ipc.messages import FromWorker, Ready, Report, SetParams
from sdv2_host.params import Params

log = logging.getLogger(__name__)

MEMORY_ADVICE = "choose a smaller size or engine, or close what else uses the memory; "
STARTED_ANEW = "is started anew with other settings"
"""Why a worker ended that nothing was wrong with."""


class WorkerListener(Protocol):
    """Whom the supervisor tells, and who passes the output from worker to worker. All are called
    in the loop."""

    def on_message(self, life: WorkerLife, message: FromWorker) -> None:
        """The worker in use says this."""

    def on_death(self, reason: str) -> None:
        """The worker in use has ended."""

    def on_next_message(self, life: WorkerLife, message: FromWorker) -> None:
        """The worker that is prepared says this."""

    def on_next_dropped(self) -> None:
        """The worker that was prepared is not wanted any more, or none was prepared yet."""

    def hand_over(self, life: WorkerLife, on_done: Callable[[], None]) -> None:
        """It is ready: its pictures shall come onto the output. `on_done` is to be called in the
        loop once those of the worker in use are not needed any more."""

    def cut(self) -> None:
        """The worker in use has died: its pictures are not waited for in the handing over."""

    def withdraw(self) -> bool:
        """The worker that is handed over to has died: the output stays with the one in use.
        False: it is too late, the other one's pictures are on the output."""

    def on_handed_over(self, life: WorkerLife) -> None:
        """This one is the worker in use from now on."""

    def on_refused(self, life: WorkerLife, reason: str) -> None:
        """This one could not start; the worker in use goes on, or one like it is started."""

    def on_stand_in(self, config: StandIn, reason: str) -> None:
        """The engine in use is given up: the next worker is one of the safe engine."""

    def on_given_up(self, reason: str) -> None:
        """No worker is started any more, until something is asked for; '' = it was."""


class _Wish(NamedTuple):
    config: Config
    is_beside: bool


class Supervisor:
    """Keeps one worker running with the newest parameters and the newest configuration.

    Fields: `_newest` parameters, for workers to come too (per process); `_in_use` the worker whose
    pictures are shown, None between two lives; `_config` its configuration, or of the one to start;
    `_next` the one that is prepared; `_on_output` the one that was handed over to last; `_leaving`
    those that are being stopped; `_fallback` the configuration to return to when the worker that
    took the place of another cannot start; `_is_given_up` whether none is started; `num_restarts`
    and the crash history (per process).
    """

    def __init__(
        self,
        config: Config,
        params: SetParams,
        listener: WorkerListener,
        *,
        run_dir: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._newest = params
        self._listener = listener
        self._limits = limits or Limits()
        self._crash_loop = CrashLoop(self._limits)
        self._places = [Place(stream, run_dir) for stream in config.work_streams]
        self._place = self._places[0]
        self._config = config
        self._wish = _Wish(config, is_beside=True)
        self._in_use: WorkerLife | None = None
        self._next: WorkerLife | None = None
        self._leaving: list[WorkerLife] = []
        self._fallback: Config | None = None
        self._was_ready = False
        self._is_given_up = False
        self._is_replacement = False
        self._start_ns = 0
        self._on_output: WorkerLife | None = None
        self._wake = asyncio.Event()
        self.num_restarts = 0

    @property
    def worker_pid(self) -> int | None:
        return self._in_use.pid if self._in_use is not None else None

    @property
    def next_pid(self) -> int | None:
        """Of the worker that is prepared."""
        return self._next.pid if self._next is not None else None

    @property
    def _lives(self) -> list[WorkerLife]:
        return [life for life in (self._in_use, self._next, *self._leaving) if life]

    @property
    def _is_vacant(self) -> bool:
        is_free = self._in_use is None and self._next is None and self._is_free(self._place)
        return is_free and not self._is_given_up

    def set_params(self, version: int, params: Params) -> None:
        """The workers use these from their next chunk on; only the newest are sent."""
        self._newest = SetParams(version=version, params=params)
        for life in (self._in_use, self._next):
            if life is not None:
                life.set_params(self._newest)

    def prepare(self, config: Config, *, is_beside: bool = True) -> None:
        """A worker with this configuration is made ready beside the one in use, then takes over.

        The stream goes on meanwhile. A newer wish replaces one that is being prepared; the
        configuration in use withdraws it. When that worker cannot start, the listener is told why.

        Not `is_beside`: the worker in use is stopped first, for a machine that cannot hold both,
        and started again if the other one cannot start. So it is also while none is ready.

        Where none was started any more, one is.
        """
        self._wish = _Wish(config, is_beside)
        if self._is_given_up:
            self._is_given_up = False
            self._start_ns = 0
            self._listener.on_given_up("")
        if self._next is None and config == self._config:
            self._listener.on_next_dropped()
        self._wake.set()

    def stand_in(self, reason: str) -> None:
        """The safe engine makes the pictures, from the next worker on."""
        safe = stand_in_for(self._config)
        if self._wish.config == self._config:  # else something newer is wanted
            self._wish = self._wish._replace(config=safe)
        self._config = safe
        self._listener.on_stand_in(safe, reason)

    async def run(self) -> NoReturn:
        """Keep a worker alive until cancelled; then none is left.

        Raises:
            HostError: no worker ever got ready because of something only the user can change:
                missing weights, full shared memory.
        """
        for place in self._places:  # a killed daemon's worker may have left its ring
            remove_stale(*place)
        try:
            while True:
                self._turn(now_ns())
                await self._wait()
        finally:
            lives = self._lives
            self._in_use = self._next = None
            for life in lives:
                life.end()
            if lives:
                await asyncio.wait({life.ended for life in lives})

    def _turn(self, now: int) -> None:
        """What has happened is followed."""
        self._leaving = [life for life in self._leaving if not life.ended.done()]
        if self._next is not None and self._on_output is self._next:
            self._take_over(self._next)
        if self._next is not None and self._next.ended.done():
            self._lose(self._next)
        if self._in_use is not None and self._in_use.ended.done():
            self._bury(self._in_use, now)
        self._follow_wish(now)
        if self._is_vacant and now >= self._start_ns:
            self._count_replacement()
            self._in_use = self._begin(self._config, self._place)

    async def _wait(self) -> None:
        """Until something has happened, or it is time to start a worker."""
        waking = asyncio.create_task(self._wake.wait())
        left_s = max(0.0, (self._start_ns - now_ns()) / NS_PER_S) if self._is_vacant else None
        try:
            ends: set[asyncio.Task[str] | asyncio.Task[bool]] = {life.ended for life in self._lives}
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({*ends, waking}, timeout=left_s, return_when=first)
        finally:
            waking.cancel()
        self._wake.clear()

    def _begin(self, config: Config, place: Place) -> WorkerLife:
        return WorkerLife(config, place, self._newest, self._hear, self._limits)

    def _is_free(self, place: Place) -> bool:
        return not any(life.place == place for life in self._lives)

    def _hear(self, life: WorkerLife, message: FromWorker) -> None:
        if life is self._in_use:
            if isinstance(message, Ready):
                self._was_ready = True
                self._fallback = None
            self._listener.on_message(life, message)
        elif life is self._next:
            self._listener.on_next_message(life, message)
            if isinstance(message, Ready):
                self._was_ready = True
                self._listener.hand_over(life, partial(self._handed_over, life))
                if self._in_use is None:
                    self._listener.cut()
            elif isinstance(message, Report) and message.no_room:
                self._reject(life, message.no_room)

    def _handed_over(self, life: WorkerLife) -> None:
        """The pictures on the output are those of this worker from now on."""
        self._on_output = life
        self._wake.set()

    def _take_over(self, life: WorkerLife) -> None:
        """The worker that was prepared is the one in use."""
        if self._in_use is not None:
            self._dismiss(self._in_use)
        self._count_replacement()
        self._in_use, self._next = life, None
        self._place, self._config = life.place, life.config
        self._listener.on_handed_over(life)

    def _count_replacement(self) -> None:
        self.num_restarts += self._is_replacement
        self._is_replacement = False

    def _dismiss(self, life: WorkerLife) -> None:
        life.end()
        self._leaving.append(life)

    def _lose(self, life: WorkerLife) -> None:
        """The worker that was prepared has ended."""
        if life.ready is not None and not self._listener.withdraw():
            self._take_over(life)
            return
        self._next = None
        self._forget_wish(life)
        self._listener.on_refused(life, life.ended.result())

    def _reject(self, life: WorkerLife, reason: str) -> None:
        """Its pictures never come: the worker in use, which would wait for them, goes on alone."""
        if self._listener.withdraw():
            self._dismiss(life)
            self._next = None
            self._forget_wish(life)
            self._listener.on_refused(life, f"has no room for its pictures: {reason}")
            self._wake.set()

    def _forget_wish(self, life: WorkerLife) -> None:
        """What this one was started for cannot be had; a newer wish stays."""
        if self._wish.config == life.config:
            self._wish = self._wish._replace(config=self._config)

    def _bury(self, life: WorkerLife, now: int) -> None:
        """The worker in use has ended by itself."""
        self._in_use = None
        reason = life.ended.result()
        is_refusal = self._fallback is not None
        if self._fallback is not None:
            self._config, self._fallback = self._fallback, None
            self._forget_wish(life)
            self._listener.on_refused(life, reason)
        elif not self._was_ready and (error := life.host_error()) is not None:
            raise error
        self._listener.on_death(reason)
        # One that never was at work is no crash: what is too large may be asked for repeatedly.
        delay_s = self._limits.first_delay_s if is_refusal else self._crash_loop.delay_s(now)
        self._is_replacement = True
        if self._next is None and delay_s is None:
            self._give_up(life, now)
            return
        delay_s = self._limits.max_delay_s if delay_s is None else delay_s
        if self._next is None:
            log.warning("worker %s; starting another in %.1f s", reason, delay_s)
        else:
            log.warning("worker %s; the one that is prepared takes its place", reason)
            if self._next.ready is not None:
                self._listener.cut()
        self._start_ns = now + round(delay_s * NS_PER_S)

    def _give_up(self, life: WorkerLife, now: int) -> None:
        """Its engine has died too often: the safe one, or where it was that one, none."""
        self._crash_loop.forget()
        self._start_ns = now
        advice = MEMORY_ADVICE if life.ran_out_of_memory else ""
        history = self._limits.told_deaths(life.ended.result())
        reason = f"{told(life.config)} {history}; {advice}"
        if is_safe_engine(life.config):
            self._is_given_up = True
            self._listener.on_given_up(f"{reason}{RETRY} starts it again")
        else:
            self.stand_in(f"{reason}{RETRY} starts it again, or choose another engine")

    def _follow_wish(self, now: int) -> None:
        """What is wanted is being prepared, as soon as there is a place for it."""
        wanted = self._wish.config
        if wanted == (self._next.config if self._next is not None else self._config):
            return
        if self._next is not None:
            if self._next.ready is not None:
                return  # its pictures are coming onto the output: first things first
            self._dismiss(self._next)
            self._next = None
            self._listener.on_next_dropped()
        if wanted == self._config:
            return
        if self._in_use is not None and self._in_use.ready is not None and self._wish.is_beside:
            other = next(place for place in self._places if place != self._place)
            if self._is_free(other):
                self._next = self._begin(wanted, other)
            return
        self._fallback = self._fallback or self._config
        self._config = wanted
        if self._in_use is not None:
            self._dismiss(self._in_use)
            self._in_use = None
            self._start_ns = now
            self._listener.on_death(STARTED_ANEW)
