"""What is said of a fault after all its rounds: worst and median, and what is not as promised."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sdv2_host.bench.fault_kinds import Fault
from sdv2_host.bench.fault_measure import Outcome
from sdv2_host.bench.fault_stage import Belongings
from sdv2_host.bench.fault_viewer import Sight
from sdv2_host.clock import NS_PER_S

MAX_GAP_INTERVALS = 2.0
"""Longest time without a publication, fresh or held, that is promised."""
BEFORE_S, AFTER_S = 0.5, 6.0
"""Of the first round, in the picture."""
MAX_SAID = 8
POOL_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""asyncio's pool makes them as it needs them, no more, and keeps them."""


@dataclass(frozen=True, slots=True)
class Round:
    """One occurrence of a fault."""

    injected_ns: int
    seen: Outcome
    wants_newcomer: bool
    newcomer_ms: float | None
    pause_intervals: float
    """Longest wait of the metronome meanwhile: what of a gap may be the machine."""
    wrong: str
    """What is not as it should be beside the pictures; '' = nothing."""

    @property
    def has_recovered(self) -> bool:
        return self.seen.recovered_ms is not None


@dataclass(frozen=True, slots=True)
class Shown:
    """One show."""

    rounds: Sequence[Round]
    grown: dict[str, int]
    """What the host's process has more of than before the first."""
    left: list[str]
    """What was there after the end."""
    said: list[str]
    """Warnings and errors in the host's log."""
    engine: str
    """In use after the last."""
    wanted_engine: str
    gone: str = ""
    """Why the host could not be asked any more after the last; '' = it could."""


def growth(before: Belongings, after: Belongings) -> dict[str, int]:
    """What there is more of, but for threads of asyncio's pool."""
    allowed = before._replace(threads=before.threads + POOL_THREADS)
    rows = zip(Belongings._fields, before, allowed, after, strict=True)
    return {name: later - sooner for name, sooner, most, later in rows if later > most}


def summary(shown: Shown) -> dict[str, Any]:
    """Worst and median of each measure; fits JSON."""
    seen = [one.seen for one in shown.rounds]
    return {
        "rounds": len(seen),
        "recovered": sum(one.has_recovered for one in shown.rounds),
        "gap_intervals": _worst([one.gap_intervals for one in seen]),
        "pause_intervals": _worst([one.pause_intervals for one in shown.rounds]),
        "fresh_gap_ms": _worst([one.fresh_gap_ms for one in seen]),
        "held_ms": _worst([one.held_ms for one in seen]),
        "recovered_ms": _worst([one.recovered_ms for one in seen]),
        "lost": _worst([float(one.num_lost) for one in seen]),
        "newcomer_ms": _worst([one.newcomer_ms for one in shown.rounds]),
        "num_wrong": sum(one.num_wrong for one in seen),
        "grown": shown.grown,
        "left": shown.left,
        "said": list(dict.fromkeys(shown.said))[:MAX_SAID],
        "each": [asdict(one) for one in seen],
    }


def verdicts(fault: Fault, times: int, shown: Shown) -> list[str]:
    """What is not as promised; empty: all is well."""
    rounds = shown.rounds
    found = []
    if not all(one.has_recovered for one in rounds):
        found.append(f"round {len(rounds)} of {times} never recovered")
    late = [one for one in rounds if one.seen.gap_intervals > MAX_GAP_INTERVALS]
    if late and not fault.is_host_gone:
        found.append(f"gap over {MAX_GAP_INTERVALS:g} intervals in {len(late)} rounds")
    if num_wrong := sum(one.seen.num_wrong for one in rounds):
        found.append(f"{num_wrong} fresh pictures out of order or doubled")
    if any(one.wants_newcomer and one.newcomer_ms is None for one in rounds):
        found.append("a reader that comes now finds no picture")
    found += sorted({one.wrong for one in rounds if one.wrong})
    found += [f"{count} more {what} in the host" for what, count in shown.grown.items()]
    found += [f"left: {what}" for what in shown.left]
    if fault.is_told_as and not any(fault.is_told_as in line for line in shown.said):
        found.append(f"nobody was told: {fault.is_told_as}")
    if shown.gone:
        found.append(f"the host is gone: {shown.gone}")
    elif shown.engine != shown.wanted_engine:
        found.append(f"engine {shown.engine} is in use, not {shown.wanted_engine}")
    return found


def timeline(sights: Sequence[Sight], rounds: Sequence[Round]) -> list[tuple[float, bool]]:
    """Publications around the first round, up to the next: seconds from the fault, and whether
    fresh."""
    injected_ns = rounds[0].injected_ns
    begin_ns = injected_ns - round(BEFORE_S * NS_PER_S)
    end_ns = injected_ns + round(AFTER_S * NS_PER_S)
    end_ns = min([end_ns, *(one.injected_ns for one in rounds[1:2])])
    return [
        (round((one.publish_ns - injected_ns) / NS_PER_S, 4), one.is_fresh)
        for one in sights
        if begin_ns <= one.publish_ns < end_ns
    ]


def _worst(values: Sequence[float | None]) -> dict[str, float] | None:
    """None = there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": round(statistics.median(known), 2), "worst": round(max(known), 2)}
