"""What the workers say and what becomes of them, passed on to whom it concerns in the daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.host.engine_desk import EngineDesk, told
from sdv2_host.host.engine_prompts import EnginePrompts
from sdv2_host.host.look_desk import LookDesk
from sdv2_host.host.presenter import Presenter
from sdv2_host.host.rate_keeper import RateKeeper
from sdv2_host.host.situation import Situation
from sdv2_host.host.stand_in import StandIn
from sdv2_host.host.supervisor import STARTED_ANEW
from sdv2_host.host.worker_life import WorkerLife
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.messages import (
    FromWorker,
    Heartbeat,
    Problem,
    Progress,
    Ready,
    Report,
    ShowTold,
)
from sdv2_host.types import ProgressFn

log = logging.getLogger(__name__)


class WorkerDesks(NamedTuple):
    """Whom it concerns which worker is in use."""

    engine: EngineDesk
    looks: LookDesk
    prompts: EnginePrompts
    rate: RateKeeper


class WatchCalls(NamedTuple):
    """What the daemon is told."""

    on_chunk: Callable[[Report], None]
    """The worker in use has styled another one."""
    on_progress: ProgressFn
    """There is no picture before this is done."""
    on_problem: Callable[[str, str], None]
    on_ready: Callable[[], None]
    """A worker in use takes frames."""
    on_show: Callable[[ShowTold], None]
    """Any of the workers has news of the show that it records."""


@dataclass(frozen=True, slots=True)
class WorkerWatch:
    """A `WorkerListener`, made as the workers begin."""

    situation: Situation
    console: Console
    presenter: Presenter
    desks: WorkerDesks
    run_dir: Path | None
    calls: WatchCalls

    def on_message(self, life: WorkerLife, message: FromWorker) -> None:
        self.situation.worker.heard(message)
        is_stand_in = isinstance(life.config, StandIn)
        if isinstance(message, Report):
            self.presenter.wake()
            self.calls.on_chunk(message)
        if is_stand_in and not isinstance(message, Progress | Ready):
            return  # what is asked of the engine that it stands in for does not concern it
        if isinstance(message, Report | Heartbeat):
            self.desks.rate.heard(message)
        elif isinstance(message, Progress):
            self.calls.on_progress(message.text, message.fraction)
        elif isinstance(message, ShowTold):
            self.calls.on_show(message)
        elif isinstance(message, Problem):
            self.calls.on_problem("engine", message.text)
        elif isinstance(message, Ready):
            self.presenter.worker_ready(message.ready_ns)
            self._expect(message)
            self.situation.was_ready = True
            self.calls.on_ready()
            _log_ready(message)
            self._in_use(life.config, message)

    def on_death(self, reason: str) -> None:
        self.situation.worker.died()
        self.presenter.worker_left()
        self.desks.prompts.worker_died()
        self.desks.looks.lose(reason)
        self.calls.on_problem("engine", "")
        self.situation.detail = f"the worker {reason}"
        level = "info" if reason == STARTED_ANEW else "error"
        self.console.note(level, "host", self.situation.detail)

    def on_next_message(self, life: WorkerLife, message: FromWorker) -> None:
        if isinstance(message, Progress):
            self.situation.preparing = f"preparing {told(life.config)}: {message.text}"
        elif isinstance(message, Report):
            self.presenter.wake()
        elif isinstance(message, ShowTold):
            self.calls.on_show(message)
        elif isinstance(message, Ready):
            _log_ready(message)

    def on_next_dropped(self) -> None:
        self.situation.preparing = ""
        self.desks.engine.dropped()

    def hand_over(self, life: WorkerLife, on_done: Callable[[], None]) -> None:
        assert life.ready is not None, "only then it is handed over to"
        self._expect(life.ready)
        loop, stream = asyncio.get_running_loop(), life.place.work_stream
        self.situation.preparing = f"{told(life.config)} takes over"

        def done() -> None:
            loop.call_soon_threadsafe(on_done)

        self.presenter.hand_over(FrameReader(stream, run_dir=self.run_dir), done)

    def cut(self) -> None:
        self.presenter.cut()

    def withdraw(self) -> bool:
        return self.presenter.withdraw()

    def on_handed_over(self, life: WorkerLife) -> None:
        assert life.ready is not None, "only then it is handed over to"
        self.situation.worker.took_over(life.ready, life.newest)
        self.situation.preparing = ""
        self.calls.on_problem("engine", life.problem)
        self.desks.looks.lose(STARTED_ANEW)
        self.console.note("info", "host", f"{told(life.config)} has taken over")
        self._in_use(life.config, life.ready)

    def on_refused(self, life: WorkerLife, reason: str) -> None:
        self.situation.preparing = ""
        self.desks.engine.refused(life, reason)

    def on_stand_in(self, config: StandIn, reason: str) -> None:
        self.situation.stand_in = reason
        self.desks.engine.give_up(config)
        self.console.note("error", "host", f"the input is shown as it is: {reason}")

    def on_given_up(self, reason: str) -> None:
        self.situation.failure = reason
        if reason:
            self.desks.engine.give_up(None)
            self.console.note("error", "host", reason)

    def _expect(self, ready: Ready) -> None:
        """Its pictures, in the time that it takes for them."""
        self.presenter.worker_came(ready.delay_frames, max(ready.step_ms.values(), default=0.0))

    def _in_use(self, config: Config, ready: Ready) -> None:
        if isinstance(config, StandIn):
            return
        self.situation.stand_in = ""
        self.situation.config = config
        self.desks.engine.took_over(config)
        self.desks.rate.began(config, ready)


def _log_ready(message: Ready) -> None:
    log.info("%s is ready after %.0f ms", message.engine, message.warmup_ms)
    if message.step_ms:
        log.info("a step takes, in ms: %s", message.step_ms)
