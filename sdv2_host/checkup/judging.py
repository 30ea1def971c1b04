"""From measures and findings to a verdict: ready or not, why, and what to do. Pure.

Each rule is a function that says what it has against the show, or nothing; the numbers are what
a room sees, not what a machine can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sdv2_host.checkup.device import HOT_C
from sdv2_host.checkup.finding import Finding, Verdict, worst
from sdv2_host.checkup.measures import Measures, Pause

FEW_SHARE, POOR_SHARE = 0.9, 0.4
"""Of the pictures that are wanted: below, motion is less fluid; below, it is a slide show
beside a 25 fps camera."""
LONG_MS = 1000.0
"""A still picture that the room takes for the end."""
LATE_MS = 500.0
"""Beyond it hands and picture do not belong together any more."""
GROWN_SHARE, GROWN_MS = 1.5, 50.0
LEAK_MIB = 100.0
LEAK_SECONDS = 60.0
"""Shorter runs say nothing of memory: a start settles for as long."""
NEAR_S = 3.0
PANIC = "panic"


class Readiness(StrEnum):
    READY = "READY"
    CARE = "READY WITH CARE"
    NOT_READY = "NOT READY"


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing against the show."""

    verdict: Verdict
    why: str
    todo: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stands at the top of the page."""

    readiness: Readiness
    sentences: tuple[str, str, str]
    objections: tuple[Objection, ...]
    """Worst first."""


def judge(measures: Measures | None, findings: Sequence[Finding], start: str) -> Judgement:
    """`measures` None = the host never came to a picture; `start` is the command of the show."""
    against = sorted(
        _objections(measures, findings), key=lambda one: one.verdict != Verdict.TROUBLE
    )
    verdict = worst(one.verdict for one in against)
    readiness = {
        Verdict.OK: Readiness.READY,
        Verdict.WARNING: Readiness.CARE,
        Verdict.TROUBLE: Readiness.NOT_READY,
    }[verdict]
    return Judgement(readiness, _sentences(measures, against, start), tuple(against))


def _sentences(
    measures: Measures | None, against: Sequence[Objection], start: str
) -> tuple[str, str, str]:
    seen = _seen(measures) if measures is not None else "No picture was ever styled."
    if not against:
        length = _length(measures.seconds) if measures is not None else ""
        return seen, f"Nothing went wrong in {length}.", f"Start the show with: {start}"
    others = len(against) - 1
    more = f" ({others} more below.)" if others else ""
    return seen, f"But: {against[0].why}.{more}", f"To do: {against[0].todo}."


def _seen(measures: Measures) -> str:
    latency = measures.latency
    size = f" at {measures.size}" if measures.size is not None else ""
    return (
        f"Engine {measures.engine}{size} styled {measures.fresh_fps:.1f} of "
        f"{measures.wanted_fps:.0f} pictures a second for {_length(measures.seconds)}, each "
        f"{latency.p50:.0f} ms after the camera, 99 % within {latency.p99:.0f} ms."
    )


def _length(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 119.5 else f"{seconds:.0f} seconds"


def _objections(measures: Measures | None, findings: Sequence[Finding]) -> Iterator[Objection]:
    if measures is not None:
        for rule in (_ended, _died, _refused, _slow, _paused, _late, _growing, _leaking, _hot):
            yield from rule(measures)
    for finding in findings:
        if finding.verdict is not Verdict.OK:
            yield Objection(
                finding.verdict, f"{finding.subject}: {finding.seen}", _plain(finding.todo)
            )


def _plain(todo: str) -> str:
    return todo.rstrip(".")


def _ended(measures: Measures) -> Iterator[Objection]:
    if measures.ended:
        yield Objection(
            Verdict.TROUBLE,
            f"the show stopped after {_length(measures.seconds)}: {measures.ended}",
            "read host.log beside this page, then run the soundcheck again",
        )


def _died(measures: Measures) -> Iterator[Objection]:
    if measures.restarts:
        times = "once" if measures.restarts == 1 else f"{measures.restarts} times"
        yield Objection(
            Verdict.TROUBLE,
            f"the engine died {times} and was started again",
            "read host.log beside this page; send it with: sdv2-host support",
        )


def _refused(measures: Measures) -> Iterator[Objection]:
    for event in measures.events:
        if event.is_refused:
            verdict = Verdict.TROUBLE if event.what == PANIC else Verdict.WARNING
            yield Objection(
                verdict,
                f"{event.what} was not done: {event.answer}",
                "do it by hand on the control page, and look at its log",
            )


def _paused(measures: Measures) -> Iterator[Objection]:
    pauses = measures.pauses
    if not pauses:
        return
    longest = pauses[0]
    count = "once" if len(pauses) == 1 else f"{len(pauses)} times"
    yield Objection(
        Verdict.TROUBLE if longest.ms > LONG_MS else Verdict.WARNING,
        f"the output stood still {count}, longest {longest.ms:.0f} ms{_when(measures, longest)}",
        "close other programs, and give the show a computer of its own",
    )


def _when(measures: Measures, pause: Pause) -> str:
    """After which event, if it began shortly after one or the event fell into it."""
    end_s = pause.at_s + pause.ms / 1000
    before = [one for one in measures.events if pause.at_s - NEAR_S <= one.at_s <= end_s]
    return f", after {before[-1].what}" if before else f", {pause.at_s:.0f} s after the beginning"


def _slow(measures: Measures) -> Iterator[Objection]:
    share = measures.styled_share
    if share < FEW_SHARE:
        yield Objection(
            Verdict.TROUBLE if share < POOR_SHARE else Verdict.WARNING,
            f"{share:.0%} of the camera's pictures were styled, "
            f"{measures.fresh_fps:.1f} of {measures.wanted_fps:.0f} a second{_limit(measures)}",
            _faster(measures.engine),
        )


def _limit(measures: Measures) -> str:
    return f"; {measures.limits_rate} limits the rate" if measures.limits_rate else ""


def _faster(engine: str) -> str:
    if engine == "passthrough":
        return "close other programs: this engine only hands pictures on"
    if engine == "tiny":
        return "a smaller --size, fewer --steps, sdv2-host compile, or close other programs"
    return "fewer --steps, a smaller --size, --vae taehv, or close other programs"


def _late(measures: Measures) -> Iterator[Objection]:
    latency = measures.latency
    if latency.p50 > LATE_MS:
        yield Objection(
            Verdict.WARNING,
            f"pictures come {latency.p50:.0f} ms after the camera",
            f"{_faster(measures.engine)}; warn who plays to the picture",
        )


def _growing(measures: Measures) -> Iterator[Objection]:
    first, last = measures.latency_ends
    if last.p95 > GROWN_SHARE * first.p95 and last.p95 > first.p95 + GROWN_MS:
        yield Objection(
            Verdict.WARNING,
            f"latency grew, its 95 % from {first.p95:.0f} to {last.p95:.0f} ms at equal settings",
            "look whether the computer gets hot, or another program woke up; run it longer",
        )


def _leaking(measures: Measures) -> Iterator[Objection]:
    growth = measures.memory_growth_mib
    if measures.seconds >= LEAK_SECONDS and growth > LEAK_MIB:
        minutes = measures.seconds / 60
        yield Objection(
            Verdict.WARNING,
            f"memory grew by {growth:.0f} MiB in {minutes:.0f} minutes",
            "run the soundcheck for 30 minutes (--minutes 30); send it with: sdv2-host support",
        )


def _hot(measures: Measures) -> Iterator[Objection]:
    hottest = measures.hottest
    if hottest is not None and hottest > HOT_C:
        yield Objection(
            Verdict.WARNING,
            f"the card got {hottest:.0f} °C hot, where it slows itself down",
            "give it air, clean its fans, and run the soundcheck again",
        )
