"""What a soak proves, in numbers. Pure.

Flat means: a robust line (Theil-Sen: the median slope of all pairs) through the last three quarters
of the run rises by less than the bound over them. The first quarter is left out: there all is made
that is made once. Counts are of the rests, when nobody is there, and may rise by less than one;
memory is of every mark outside the rests, and may rise by one hundredth, or `NOISE_MIB` where that
is more: so much allocators move by themselves. The daemon's threads may rise by those of its pool,
which are made when all of them are busy for the first time, whenever that is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.soak import SoakPlan, SoakTrace
from sdv2_host.bench.soak_script import SHOW_FPS
from sdv2_host.bench.soak_watch import Mark, ProcessMark

LEFT_OUT = 0.25
NOISE_MIB = 2.0
NOISE_SHARE = 0.01
LESS_THAN_ONE = 0.99
POOL_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""What Python's own pool of an event loop may come to."""
LATENCY_RATIO = 1.10
TENTHS = 10
MIN_LIFE_MARKS = 12
"""A worker's life with fewer says nothing of growth."""
ENDED_WELL = (0, 143)
"""Exit codes after SIGTERM; 143 is what a shell expects."""

Floats = NDArray[np.float64]


class Verdict(NamedTuple):
    """One claim."""

    what: str
    value: float
    bound: float
    """The value may be at most this."""
    says: str

    @property
    def holds(self) -> bool:
        return self.value <= self.bound


def theil_sen(x_N: Sequence[float], y_N: Sequence[float]) -> float:
    """The median slope of all pairs of points with different x; 0 with fewer than two."""
    x, y = np.asarray(x_N, np.float64), np.asarray(y_N, np.float64)
    first, second = np.triu_indices(len(x), 1)
    steps = x[second] - x[first]
    slopes = (y[second] - y[first])[steps != 0] / steps[steps != 0]
    return float(np.median(slopes)) if len(slopes) else 0.0


def growth(frames_N: Sequence[int], values_N: Sequence[float]) -> float:
    """By how much the line rises over the last three quarters of these; never less than 0."""
    begin = int(len(frames_N) * LEFT_OUT)
    x, y = list(frames_N[begin:]), values_N[begin:]
    span = x[-1] - x[0] if len(x) > 1 else 0
    return max(0.0, theil_sen(x, y) * span)


def verdicts(trace: SoakTrace) -> list[Verdict]:
    """Every claim of a soak."""
    return [
        *_daemon(trace.marks),
        *_workers(trace.marks),
        *_belongings(trace.marks),
        _latency(trace),
        _ends(trace),
    ]


def _daemon(marks: Sequence[Mark]) -> list[Verdict]:
    playing = [mark for mark in marks if not mark.is_rest]
    resting = [mark for mark in marks if mark.is_rest]
    return [
        _memory("daemon's memory", [m.frame for m in playing], [m.daemon for m in playing]),
        _count("daemon's descriptors", resting, [m.daemon.num_fds for m in resting]),
        _count("daemon's threads", resting, [m.daemon.num_threads for m in resting], POOL_THREADS),
    ]


def _belongings(marks: Sequence[Mark]) -> list[Verdict]:
    resting = [mark for mark in marks if mark.is_rest]
    return [
        _count("segments of shared memory", resting, [m.num_segments for m in resting]),
        _count("files in the run folder", resting, [m.num_files for m in resting]),
    ]


def _workers(marks: Sequence[Mark]) -> list[Verdict]:
    """The worst of its lives, each by itself."""
    lives = lives_of(marks)
    if not lives:
        return []
    memory, descriptors, threads = [], [], []
    for number, (frames, workers) in enumerate(lives, 1):
        whose = f"worker {number} of {len(lives)}"
        memory.append(_memory(f"{whose}: memory", frames, workers))
        fds = growth(frames, [one.num_fds for one in workers])
        descriptors.append(_risen(f"{whose}: descriptors", fds, workers[-1].num_fds))
        grown = growth(frames, [one.num_threads for one in workers])
        threads.append(_risen(f"{whose}: threads", grown, workers[-1].num_threads))
    of_all = (memory, descriptors, threads)
    return [max(each, key=lambda one: one.value / one.bound) for each in of_all]


def lives_of(marks: Sequence[Mark]) -> list[tuple[list[int], list[ProcessMark]]]:
    """Frames and marks of each worker that lived for long enough, oldest first."""
    seen = [(mark.frame, mark.worker) for mark in marks if mark.worker is not None]
    lives = []
    for _, group in groupby(seen, key=lambda pair: pair[1].pid):
        pairs = list(group)
        if len(pairs) >= MIN_LIFE_MARKS:
            lives.append(([frame for frame, _ in pairs], [worker for _, worker in pairs]))
    return lives


def _memory(what: str, frames: Sequence[int], processes: Sequence[ProcessMark]) -> Verdict:
    values = [one.rss_mib for one in processes]
    middle = float(np.median(values)) if values else 0.0
    grown = growth(frames, values)
    bound = max(NOISE_MIB, NOISE_SHARE * middle)
    return Verdict(what, grown, bound, f"+{grown:.2f} MiB of {middle:.0f}, at most {bound:.2f}")


def _count(
    what: str, marks: Sequence[Mark], values: Sequence[int], bound: float = LESS_THAN_ONE
) -> Verdict:
    grown = growth([mark.frame for mark in marks], values)
    return _risen(what, grown, values[-1] if values else 0, bound)


def _risen(what: str, grown: float, last: int, bound: float = LESS_THAN_ONE) -> Verdict:
    return Verdict(what, grown, bound, f"+{grown:.2f}, at most {bound:g}; {last} at the end")


def tenths(trace: SoakTrace, percent: float) -> Floats:
    """[10]: this percentile of the latency of each tenth's ordinary frames; NaN where none are."""
    frames = np.frombuffer(trace.latencies.frames, np.uint32)
    latencies_ms = np.frombuffer(trace.latencies.ms, np.float64)
    last = max((mark.frame for mark in trace.marks), default=1)
    edges = np.searchsorted(frames, np.linspace(0, last, TENTHS + 1))
    parts = [latencies_ms[a:b] for a, b in pairwise(edges)]
    return np.array([np.percentile(part, percent) if len(part) else np.nan for part in parts])


def _latency(trace: SoakTrace) -> Verdict:
    p99 = tenths(trace, 99)
    ratio = float(p99[-1] / p99[0])
    return Verdict(
        "p99 of latency, last tenth over first",
        ratio if np.isfinite(ratio) else float("inf"),
        LATENCY_RATIO,
        f"{p99[-1]:.1f} over {p99[0]:.1f} ms = {ratio:.3f}, at most {LATENCY_RATIO:.2f}",
    )


def _ends(trace: SoakTrace) -> Verdict:
    """Everything that is wrong at the end, counted."""
    segments, locks = trace.left
    is_bad = trace.exit_code not in ENDED_WELL
    wrong = segments + is_bad + len(trace.errors)
    says = (
        f"exit code {trace.exit_code}, {segments} segments and {locks} files left, "
        f"{len(trace.errors)} errors in the log"
    )
    return Verdict("the end", wrong, 0, says)


def result(soak: SoakPlan, trace: SoakTrace) -> dict[str, Any]:
    """The whole, for JSON."""
    found = verdicts(trace)
    show_s = trace.num_frames / SHOW_FPS
    return {
        "hours": soak.hours,
        "size": str(soak.size),
        "engine": soak.engine,
        "seed": soak.seed,
        "frames": trace.num_frames,
        "fresh": trace.fresh,
        "took_s": round(trace.took_s, 1),
        "compressed": round(show_s / max(trace.took_s, 1e-9), 2),
        "holds": all(verdict.holds for verdict in found),
        "verdicts": [{**one._asdict(), "holds": one.holds} for one in found],
        "latency_p50_ms": _rounded(tenths(trace, 50)),
        "latency_p99_ms": _rounded(tenths(trace, 99)),
        "ordinary_frames": len(trace.latencies.ms),
        "came": trace.came,
        "broke": trace.broke,
        "errors": trace.errors,
        "marks": [_row(mark) for mark in trace.marks],
        "host": {
            key: trace.status.get(key) for key in ("worker_restarts", "dropped", "osc", "web")
        },
    }


def _rounded(values: Floats) -> list[float | None]:
    return [round(float(one), 2) if np.isfinite(one) else None for one in values]


def _row(mark: Mark) -> dict[str, Any]:
    worker = mark.worker
    return {
        "s": mark.at_s,
        "frame": mark.frame,
        "rest": mark.is_rest,
        "daemon": [mark.daemon.rss_mib, mark.daemon.num_fds, mark.daemon.num_threads],
        "worker": [worker.pid, worker.rss_mib, worker.num_fds, worker.num_threads]
        if worker
        else None,
        "segments": mark.num_segments,
        "files": mark.num_files,
        "fps": mark.fps,
    }
