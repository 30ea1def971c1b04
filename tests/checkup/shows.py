"""Measures of shows that never were."""

from __future__ import annotations

from collections.abc import Sequence

from sdv2_host.checkup.measures import Event, Measures, OutputLog, Sample
from sdv2_host.types import Size

FPS = 30.0


def steady(seconds: float, latency_ms: float = 200.0, fresh_every: int = 1) -> OutputLog:
    """An output of an even cadence, every so many pictures a fresh one, the others shown again."""
    log = OutputLog()
    for number in range(round(seconds * FPS)):
        log.add(number / FPS, latency_ms if number % fresh_every == 0 else None)
    return log


def sample(at_s: float, **more: float | None) -> Sample:
    plain: dict[str, float | None] = {
        **{"fps": FPS, "p50_ms": 200.0, "p99_ms": 250.0, "dropped": 0, "restarts": 0},
        **{"host_mib": 500.0, "cpu_share": 0.5, "gpu_mib": None, "celsius": None},
    }
    return Sample(at_s, **{**plain, **more})  # type: ignore[arg-type]


def show(
    output: OutputLog | None = None,
    *,
    seconds: float = 100.0,
    samples: Sequence[Sample] = (),
    events: Sequence[Event] = (),
    ended: str = "",
    output_fps: float = 0.0,
    limits_rate: str = "",
    says: str = "",
) -> Measures:
    """A show of `seconds` in which all went well, but for what is given."""
    return Measures(
        engine="tiny",
        size=Size(256, 256),
        source="test pattern",
        source_fps=FPS,
        output_fps=output_fps,
        ready_s=12.0,
        seconds=seconds,
        planned_s=seconds,
        samples=samples or [sample(0.0), sample(seconds)],
        events=events,
        output=output if output is not None else steady(seconds),
        ended=ended,
        limits_rate=limits_rate,
        says=says,
    )
