"""`sdv2-host bench faults`: everything that can go wrong does, at random moments, again and again.

A host with its source and a viewer, each a process of its own; what counts is what the viewer saw.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdv2_host.bench.fault_kinds import BY_NAME, FAULTS, Fault, Place, newcomer_ms
from sdv2_host.bench.fault_measure import Occurrence, longest_pause, num_missed, outcome, trusted
from sdv2_host.bench.fault_stage import Stage, StagePlan
from sdv2_host.bench.fault_verdicts import Round, Shown, growth, summary, timeline, verdicts
from sdv2_host.bench.namespaces import leave_mounts, mount_small, unmount
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.ipc.shm import LINUX_SEGMENT_DIR
from sdv2_host.types import ProgressFn

MOMENT_S = 0.5
"""A fault comes at any moment of this time, which is some chunks."""
RECOVERY_S = 60.0
AFTER_S = 0.5
"""Looked at after the recovery: a show that is back must stay so."""
SMALL_MEMORY_BYTES = 24 << 20
SMALL_DISK_BYTES = 4 << 20
LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class FaultsPlan:
    stage: StagePlan
    faults: tuple[Fault, ...]
    times: int
    """Each, in one show."""
    seed: int
    recovery_s: float = RECOVERY_S
    """A show that takes longer to be whole again never recovers."""


def run(
    plan: FaultsPlan, progress: ProgressFn, keep: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """The matrix; fits JSON. `keep` is given it after each row, as far as it is.

    Raises:
        HostError: a show could not be begun.
    """
    report: dict[str, Any] = {
        "engine": plan.stage.engine,
        "size": str(plan.stage.size),
        "fps": plan.stage.fps,
        "output_fps": plan.stage.output_fps,
        "silence_s": plan.stage.silence_s,
        "times": plan.times,
        "seed": plan.seed,
        "rows": [],
    }
    begin_ns = now_ns()
    for number, fault in enumerate(plan.faults):

        def told(text: str, share: float, name: str = fault.name, number: int = number) -> None:
            progress(f"{name}: {text}", (number + share) / len(plan.faults))

        report["rows"].append(_row(plan, fault, told))
        report["took_s"] = round((now_ns() - begin_ns) / NS_PER_S)
        keep(report)
    return report


def chosen(only: str) -> tuple[Fault, ...]:
    """Faults, from a list of names with commas; '' = all.

    Raises:
        ConfigError: naming those that there are.
    """
    if not only:
        return FAULTS
    names = tuple(name.strip() for name in only.split(","))
    for name in names:
        if name not in BY_NAME:
            raise ConfigError(f"--only {name}: no such fault, there are {', '.join(BY_NAME)}")
    return tuple(BY_NAME[name] for name in names)


def _row(plan: FaultsPlan, fault: Fault, progress: ProgressFn) -> dict[str, Any]:
    told = {"name": fault.name, "what": fault.what}
    reason = _why_not(plan, fault)
    if not reason:
        try:
            return {
                **told,
                **_in_place(fault.place, lambda ended: _played(plan, fault, progress, ended)),
            }
        except ConfigError as error:  # this system has no such place for us
            reason = str(error)
    return {**told, "skipped": reason}


def _why_not(plan: FaultsPlan, fault: Fault) -> str:
    if fault.name == "nan" and plan.stage.engine == "passthrough":
        return "engine passthrough has no numbers that could be NaN"
    if (fault.name.startswith("ring-") or fault.is_forged) and sys.platform != "linux":
        return "only on Linux a ring is a file that can be deleted or written to"
    return ""


def _in_place(place: Place, play: Callable[[threading.Event], dict[str, Any]]) -> dict[str, Any]:
    """In a thread of its own where the place is one: mounts are a thread's, and of its children.

    Ctrl-C comes to the main thread alone: the event tells that nobody waits for the rest.
    """
    ended = threading.Event()
    if place is Place.PLAIN:
        return play(ended)

    def apart() -> dict[str, Any]:
        leave_mounts()
        mount_small(LINUX_SEGMENT_DIR, SMALL_MEMORY_BYTES)
        return play(ended)

    with ThreadPoolExecutor(1) as alone:
        try:
            return alone.submit(apart).result()
        finally:
            ended.set()


def _played(
    plan: FaultsPlan, fault: Fault, progress: ProgressFn, ended: threading.Event
) -> dict[str, Any]:
    """One show, in which the fault comes again and again, as long as it recovers."""
    rng = random.Random(f"{plan.seed} {fault.name}")
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="sdv2-faults-") as path:
        stage = Stage(plan.stage, Path(path))
        if fault.place is Place.CRAMPED:
            mount_small(stage.data_dir, SMALL_DISK_BYTES)
        try:
            progress("starting the show", 0.0)
            stage.open()
            before, num_lines = stage.belongings(), len(stage.host.log())
            while len(rounds) < plan.times and all(one.has_recovered for one in rounds):
                if ended.is_set():
                    raise CancelledError
                progress(f"{len(rounds) + 1} of {plan.times}", len(rounds) / plan.times)
                rounds.append(_once(stage, fault, rng, plan.recovery_s))
            said, gone = stage.said_since(num_lines), stage.why_gone()
            grown = {} if gone or fault.is_host_gone else growth(before, stage.belongings())
            engine = "" if gone else str(stage.status()["engine"])
        finally:
            log = stage.host.log()[-LOG_LINES:]
            left = stage.close()
            if fault.place is Place.CRAMPED:
                unmount(stage.data_dir)
    shown = Shown(rounds, grown, left, said, engine, plan.stage.engine, gone)
    return {
        **summary(shown),
        "num_missed": num_missed(stage.sights),
        "verdicts": verdicts(fault, plan.times, shown),
        "timeline": timeline(stage.sights, rounds),
        "log": [] if all(one.has_recovered for one in rounds) else log,
    }


def _once(stage: Stage, fault: Fault, rng: random.Random, recovery_s: float) -> Round:
    """The fault at a random moment, until the show is whole again or too long."""
    time.sleep(rng.uniform(0, MOMENT_S))
    deed = fault.do(stage, rng)
    newcomer = None
    if deed.newcomer and deed.undo is None:
        newcomer = newcomer_ms(stage, deed.newcomer, deed.injected_ns)
    time.sleep(rng.uniform(*fault.hold_s))
    healed_ns = deed.injected_ns
    wrong = ""
    if deed.undo is not None:
        healed_ns = now_ns()
        wrong = _told(deed.undo)
        if deed.newcomer:
            newcomer = newcomer_ms(stage, deed.newcomer, healed_ns)
    stage.until(lambda: stage.has_recovered(healed_ns), recovery_s)
    time.sleep(AFTER_S + fault.rest_s)
    if deed.check is not None:
        wrong = wrong or _told(deed.check)
    begin_ns = healed_ns if fault.is_forged else deed.injected_ns
    when = Occurrence(begin_ns, healed_ns, now_ns())
    sights = trusted(stage.sights) if fault.is_forged else stage.sights
    seen = outcome(sights, when, stage.plan.interval_ns)
    if fault.is_forged:  # what the last frame before was may have been anybody's word
        seen = replace(seen, num_wrong=0, num_lost=0)
    pause = longest_pause(stage.pauses, when, stage.plan.interval_ns)
    return Round(deed.injected_ns, seen, bool(deed.newcomer), newcomer, pause, wrong)


def _told(ask: Callable[[], str | None]) -> str:
    """What it says is wrong, or the host, where it does not do what it is asked to or is gone."""
    try:
        return ask() or ""
    except HostError as error:
        return str(error)
