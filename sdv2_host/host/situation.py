"""What is going on, from what daemon, presenter, workers and desk know: the status, in words."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from sdv2_host.config import Config
from sdv2_host.host.meter import PresenterStats
from sdv2_host.host.prompt_desk import Desk
from sdv2_host.host.worker_log import WorkerLog
from sdv2_host.params import Params
from sdv2_host.status import HostState, HostStatus
from sdv2_host.types import Size

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Situation:
    """Fields, per process: the configuration in use; what the workers said; what is being done
    while none is ready, and for one that is being prepared; why no worker is started any more, and
    why the safe engine stands in for the one of the configuration ('' = it is not so); what of the
    parameters is not followed, by origin."""

    config: Config
    worker: WorkerLog = field(default_factory=WorkerLog)
    was_ready: bool = False
    detail: str = "starting"
    preparing: str = ""
    failure: str = ""
    stand_in: str = ""
    problems: dict[str, str] = field(default_factory=dict)

    def set_problem(self, origin: str, text: str) -> bool:
        """`origin` has this problem from now on, or none; the newest is what the status shows.

        True: it is a new one.
        """
        known = self.problems.pop(origin, "")
        if text:
            self.problems[origin] = text
        is_new = bool(text) and text != known
        if is_new:
            log.warning("%s", text)
        return is_new

    def status(self, params: Params, stats: PresenterStats | None, desk: Desk) -> HostStatus:
        """All of it but what sockets and supervisor count."""
        state, detail = self._state(params, stats, desk)
        problem = next(reversed(self.problems.values()), "")
        ready = self.worker.ready
        size = Size(ready.width, ready.height) if ready is not None and ready.width else None
        if stats is None:
            return HostStatus(state, detail, self.config.engine, size, problem=problem)
        newest = self.worker.newest
        return HostStatus(
            state=state,
            detail=detail,
            engine=self.config.engine,
            size=size,
            fps=stats.fps,
            # The last chunk of a killed worker was shown but never reported.
            frames_in=max(self.worker.frames_in, stats.counts.fresh),
            frames_out=stats.counts.fresh,
            frames_repeated=stats.counts.repeated,
            dropped=self.worker.dropped + stats.counts.skipped,
            cadence_gaps=stats.cadence_gaps,
            delay_frames=ready.delay_frames if ready is not None else 0,
            latency_ms=stats.latency_ms,
            ttff_ms=stats.ttff_ms,
            spans_ms=self.worker.spans_ms,
            step_ms=ready.step_ms if ready is not None else {},
            schedule=newest.schedule if newest else "",
            notes=newest.notes if newest else {},
            problem=problem,
            prompt=desk.live.a if desk.live else "",
            encoding=desk.doing,
            preparing=self.preparing,
            queue_depth=newest.queue_depth if newest else 0,
            worker_rss_bytes=newest.rss_bytes if newest else 0,
        )

    def _state(
        self, params: Params, stats: PresenterStats | None, desk: Desk
    ) -> tuple[HostState, str]:
        is_missing = stats is not None and stats.is_missing
        held = _held(params) or (_missing(params) if is_missing else "")
        if self.failure:
            return HostState.FAILED, f"{self.failure}{held}"
        doing = "".join(f"; {text}" for text in (self.preparing, desk.doing) if text)
        if self.worker.ready is None:
            state = HostState.RECOVERING if self.was_ready else HostState.STARTING
            return state, f"{self.detail}{held}"
        if self.stand_in and not is_missing:
            shown = held or "; the input is shown as it is"
            return HostState.SAFE, f"{self.stand_in}{shown}{doing}"
        if held and not is_missing:
            return HostState.LIVE, f"{held.removeprefix('; ')}{doing}"
        state, text = self._flow(stats, is_missing)
        return state, f"{text}{held}{doing}"

    def _flow(self, stats: PresenterStats | None, is_missing: bool) -> tuple[HostState, str]:
        """How the styled pictures come."""
        if stats is not None and stats.fps > 0 and not is_missing:
            return HostState.LIVE, "fresh frames reach the output"
        busy = self.worker.busy()
        if busy is not None and is_missing:
            return HostState.RECOVERING, "the model does not answer"
        if busy is not None:
            state = HostState.LIVE if busy.is_usual else HostState.WAITING
            return state, str(busy)
        return HostState.WAITING, f"no frames come in on ring {self.config.input_stream}"


def _missing(params: Params) -> str:
    """What is shown where the model makes no pictures."""
    return f"; the output shows the safe picture ({params.safe}) until there are new ones"


def _held(params: Params) -> str:
    """Why the output does not show the styled picture, at a person's wish."""
    if params.panicked:
        return f"; panic: the output shows the safe picture ({params.safe})"
    if params.blackout:
        return "; blackout: the output is black"
    if params.freeze:
        return "; frozen: the output holds its picture"
    if params.pause:
        return "; paused: the model rests, the output holds its picture"
    return ""
