"""`sdv2-host bench hour`: hours of stream through the embedded model, faster than they would pass.

Three streams, each in a process of its own, one thread each:
* show: looks change every minute, positions as the product has them (RELATIVE).
* resets: the same with the reference's positions (RESET); both for as many chunks as are asked for.
* one look: the show's first hour in one look from the first chunk to the last, sinks never made
  new.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sdv2_host.bench.hour_resets import paired, resets
from sdv2_host.bench.hour_show import MINUTE_CHUNKS, Show
from sdv2_host.bench.hour_stream import StreamPlan, run_stream
from sdv2_host.bench.hour_trace import Trace
from sdv2_host.bench.hour_verdicts import (
    FEWEST_POINTS,
    SETTLING_MINUTES,
    drift,
    memory,
    recovery,
    speed,
    watchdog,
)
from sdv2_host.errors import ConfigError, HostError, WorkerError
from sdv2_host.params import MIN_SIDE_PX, Params
from sdv2_host.stream.drift import LIMIT
from sdv2_host.stream.positions import PositionMode
from sdv2_host.types import ProgressFn, Size

SHOW, ONE_LOOK, RESETS = "show", "one look", "resets"
LONG_CHUNKS = 100_000
SMALLEST = Size(MIN_SIDE_PX, MIN_SIDE_PX)
FEWEST_MINUTES = FEWEST_POINTS + SETTLING_MINUTES
"""Of which trends can be told."""
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class HourPlan:
    """What to stream. The defaults take some hundred minutes on two cores."""

    minutes: int = 60
    chunks: int = LONG_CHUNKS
    """Of the show, with resets and without; at least those of the minutes."""
    size: Size = SMALLEST
    params: Params = field(default_factory=Params)

    @property
    def streams(self) -> tuple[StreamPlan, ...]:
        """The longest first."""
        num_chunks = self.minutes * MINUTE_CHUNKS
        long = Show(max(num_chunks, self.chunks), self.size)
        return (
            StreamPlan(RESETS, long, PositionMode.RESET, self.params),
            StreamPlan(SHOW, long, params=self.params),
            StreamPlan(ONE_LOOK, Show(num_chunks, self.size, keeps_look=True), params=self.params),
        )


def in_processes(plans: Sequence[StreamPlan], progress: ProgressFn) -> dict[str, Trace]:
    """Runs as many at a time as there are cores.

    Raises:
        HostError: a stream could not be run.
    """
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[tuple[str, object]] = context.Queue()
    waiting = list(plans)
    running: dict[str, BaseProcess] = {}
    traces: dict[str, Trace] = {}
    done = {plan.name: 0.0 for plan in plans}
    chunks = {plan.name: plan.show.num_chunks for plan in plans}
    try:
        while len(traces) < len(plans):
            while waiting and len(running) < multiprocessing.cpu_count():
                plan = waiting.pop(0)
                running[plan.name] = context.Process(target=_run, args=(plan, told))
                running[plan.name].start()
            _check_alive(running)
            name, said = _next_word(told)
            if isinstance(said, HostError):
                raise said
            if isinstance(said, Trace):
                traces[name] = said
                running.pop(name).join()
            elif isinstance(said, float):
                done[name] = said
                share = sum(done[key] * chunks[key] for key in done) / sum(chunks.values())
                progress("streaming", share)
    finally:
        for process in running.values():
            process.kill()
    return traces


def _run(plan: StreamPlan, told: multiprocessing.Queue[tuple[str, object]]) -> None:
    """The body of a stream's process. Ctrl-C is for the parent, which ends this one then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        told.put((plan.name, run_stream(plan, lambda _, share: told.put((plan.name, share)))))
    except HostError as error:
        told.put((plan.name, error))


def _next_word(told: multiprocessing.Queue[tuple[str, object]]) -> tuple[str, object]:
    """What a stream says: how far it is, its trace, or why there is none. None within a second:
    nothing."""
    try:
        return told.get(timeout=POLL_S)
    except queue.Empty:
        return "", None


def _check_alive(running: dict[str, BaseProcess]) -> None:
    for name, process in running.items():
        if process.exitcode not in (None, 0):
            raise WorkerError(
                f"bench hour: the process of stream {name!r} ended with {process.exitcode}; "
                "see the message above, try again"
            )


def kept(folder: Path, plan: HourPlan) -> dict[str, Trace]:
    """Traces of an earlier run of the same plan.

    Raises:
        ConfigError: they are not there, or of another plan.
    """
    traces = {one.name: Trace.load(trace_path(folder, one.name)) for one in plan.streams}
    for one in plan.streams:
        there = len(traces[one.name].detail_N)
        if there != one.show.num_chunks:
            raise ConfigError(
                f"{trace_path(folder, one.name)} has {there} chunks, --minutes and --chunks ask "
                f"for {one.show.num_chunks}: give those it was made with"
            )
    return traces


def trace_path(folder: Path, name: str) -> Path:
    return folder / f"hour-{name.replace(' ', '-')}.npz"


def judge(plan: HourPlan, traces: dict[str, Trace], seconds: float) -> dict[str, Any]:
    """What the traces of the plan's streams say."""
    result: dict[str, Any] = {
        "minutes": plan.minutes,
        "size": str(plan.size),
        "steps": plan.params.steps,
        "seconds": seconds,
        "streams": {},
    }
    for one in plan.streams:
        trace = traces[one.name]
        result["streams"][one.name] = {
            "positions": one.positions.value,
            "chunks": one.show.num_chunks,
            "speed": speed(one.show, trace),
            "memory": memory(trace),
            "drift": drift(one.show, trace),
            "recovery": recovery(one.show, trace),
            "resets": resets(one.show, trace),
            "watchdog": watchdog(trace, LIMIT),
        }
    result["paired"] = paired(plan.streams[0].show, traces[RESETS], traces[SHOW])
    return result
