"""A soak: what happens in it, what counts as flat, and a short one at a real host."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from sdv2_host.bench import soak_report, soak_script
from sdv2_host.bench.soak import SoakPlan, SoakTrace, run
from sdv2_host.bench.soak_script import DISTURBING, FRAMES_PER_HOUR, KINDS, TOGGLES, Turn, plan
from sdv2_host.bench.soak_stream import Latencies
from sdv2_host.bench.soak_verdicts import growth, result, tenths, theil_sen, verdicts
from sdv2_host.bench.soak_watch import Mark, ProcessMark
from sdv2_host.types import Size

TWO_HOURS = 2 * FRAMES_PER_HOUR
SLOW = frozenset(("engine swap", "worker killed", "viewer", "sleeper", "source stalls"))
"""What takes seconds each; the command has them all."""


def kinds_of(turns: list[Turn]) -> list[str]:
    return [turn.kind for turn in turns]


def test_equal_seeds_make_equal_shows_and_others_do_not() -> None:
    assert plan(TWO_HOURS, 3) == plan(TWO_HOURS, 3)
    assert plan(TWO_HOURS, 3) != plan(TWO_HOURS, 4)


def test_what_is_left_out_changes_nothing_of_the_rest() -> None:
    whole = plan(TWO_HOURS, 0)

    without = plan(TWO_HOURS, 0, SLOW)

    assert without == [turn for turn in whole if turn.kind not in SLOW]


def test_every_kind_comes_in_the_shortest_run_too_and_what_goes_on_goes_off() -> None:
    kinds = kinds_of(plan(300, 0))

    assert set(kinds) == set(KINDS) | {f"{kind} off" for kind in TOGGLES}
    assert all(kinds.count(kind) == kinds.count(f"{kind} off") for kind in TOGGLES)


def test_turns_come_in_order_and_within_the_run() -> None:
    frames = [turn.at_frame for turn in plan(TWO_HOURS, 1)]

    assert frames == sorted(frames)
    assert 0 <= frames[0] <= frames[-1] < TWO_HOURS


@pytest.fixture(scope="module")
def two_hours() -> list[Turn]:
    return plan(TWO_HOURS, 2)


@pytest.mark.parametrize("kind", [kind for kind, per_hour in KINDS.items() if per_hour >= 5])
def test_every_tenth_of_two_hours_has_its_share(two_hours: list[Turn], kind: str) -> None:
    frames = [turn.at_frame for turn in two_hours if turn.kind == kind]

    counts, _ = np.histogram(frames, bins=10, range=(0, TWO_HOURS))

    assert len(frames) == round(2 * KINDS[kind])
    assert max(counts) - min(counts) <= 2


def test_what_the_script_calls_by_name_is_in_it() -> None:
    assert set(KINDS) >= DISTURBING
    assert {turn.kind for turn in plan(300, 0) if turn.orders} == set(TOGGLES) | set(
        soak_script.CHOICES
    ) | {f"{kind} off" for kind in TOGGLES}


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_the_median_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = list(zip(rng.integers(0, 9, 12).tolist(), rng.normal(size=12).tolist(), strict=True))

    naive = median((d - b) / (c - a) for (a, b), (c, d) in combinations(points, 2) if a != c)

    assert theil_sen(*zip(*points, strict=True)) == pytest.approx(naive)


def test_a_line_grows_by_its_slope_and_outliers_change_nothing() -> None:
    frames = list(range(0, 4000, 100))
    values = [50 + frame / 1000 for frame in frames]
    values[20] += 300

    assert growth(frames, values) == pytest.approx(2.9)


def test_what_is_made_once_at_the_start_is_no_growth() -> None:
    frames = list(range(0, 4000, 100))
    values = [min(frame, 900) / 10 for frame in frames]

    assert growth(frames, values) == 0.0


def process(rss_mib: float, num_fds: int = 20, num_threads: int = 7, pid: int = 1) -> ProcessMark:
    return ProcessMark(pid, rss_mib, num_fds, num_threads)


def calm_trace() -> SoakTrace:
    """A run in which nothing grows: 200 marks and 20 rests over 20,000 frames."""
    rng = np.random.default_rng(0)
    marks = [
        Mark(
            at_s=index,
            frame=91 * index,
            daemon=process(90 + noise),
            worker=process(380 + noise, pid=2),
            num_segments=3,
            num_files=7,
            fps=100,
            is_rest=index % 11 == 10,
        )
        for index, noise in enumerate(rng.normal(0, 0.2, 220).tolist())
    ]
    frames, ms = array("I", range(20_000)), array("d", rng.gamma(9, 2, 20_000))
    return SoakTrace(20_000, 200.0, marks, Latencies(frames, ms), exit_code=143)


def verdict_of(trace: SoakTrace) -> dict[str, bool]:
    return {verdict.what.split(": ")[-1]: verdict.holds for verdict in verdicts(trace)}


def test_a_run_in_which_nothing_grows_holds() -> None:
    assert set(verdict_of(calm_trace()).values()) == {True}


def leaking_memory(trace: SoakTrace) -> SoakTrace:
    marks = [
        replace(m, daemon=process(m.daemon.rss_mib + m.frame / 20_000 * 4)) for m in trace.marks
    ]
    return replace(trace, marks=marks)


def leaking_descriptors(trace: SoakTrace) -> SoakTrace:
    marks = [replace(m, daemon=process(90, 20 + m.frame // 5_000)) for m in trace.marks]
    return replace(trace, marks=marks)


def leaking_threads(trace: SoakTrace) -> SoakTrace:
    marks = [replace(m, daemon=process(90, 20, 7 + m.frame // 50)) for m in trace.marks]
    return replace(trace, marks=marks)


def leaking_worker(trace: SoakTrace) -> SoakTrace:
    """The second of two lives grows."""
    marks = [
        replace(m, worker=process(380 + max(0, m.frame - 10_000) / 500, pid=2 + m.frame // 10_000))
        for m in trace.marks
    ]
    return replace(trace, marks=marks)


def leaking_segments(trace: SoakTrace) -> SoakTrace:
    marks = [replace(m, num_segments=3 + m.frame // 5_000) for m in trace.marks]
    return replace(trace, marks=marks)


def later_pictures(trace: SoakTrace) -> SoakTrace:
    ms = array("d", [one * (1 + n / 100_000) for n, one in enumerate(trace.latencies.ms)])
    return replace(trace, latencies=Latencies(trace.latencies.frames, ms))


def left_over(trace: SoakTrace) -> SoakTrace:
    return replace(trace, left=(1, 0))


def crashed(trace: SoakTrace) -> SoakTrace:
    return replace(trace, errors=["Traceback (most recent call last):"])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (leaking_memory, "daemon's memory"),
        (leaking_descriptors, "daemon's descriptors"),
        (leaking_threads, "daemon's threads"),
        (leaking_worker, "memory"),
        (leaking_segments, "segments of shared memory"),
        (later_pictures, "p99 of latency, last tenth over first"),
        (left_over, "the end"),
        (crashed, "the end"),
    ],
)
def test_what_grows_is_found_and_nothing_else_is_blamed(
    spoil: Callable[[SoakTrace], SoakTrace], what: str
) -> None:
    held = verdict_of(spoil(calm_trace()))

    assert [name for name, holds in held.items() if not holds] == [what]


def test_tenths_are_of_frames_and_not_of_how_many_were_measured() -> None:
    trace = calm_trace()
    # Of the second half every tenth picture alone was an ordinary one.
    kept = [n for n in range(20_000) if n < 10_000 or n % 10 == 0]
    frames, ms = array("I", kept), array("d", [1.0 if n < 10_000 else 2.0 for n in kept])

    halves = tenths(replace(trace, latencies=Latencies(frames, ms)), 50)

    assert halves.tolist() == pytest.approx([1.0] * 5 + [2.0] * 5)


def test_a_short_soak_of_a_real_host_leaves_nothing_and_tells_all(tmp_path: Path) -> None:
    soak = SoakPlan(0.003, Size(64, 64), 1, "passthrough", SLOW, num_rests=2)

    trace = run(soak, lambda *_: None)

    told = result(soak, trace)
    drawn = soak_report.draw(tmp_path / "soak.png", told)
    assert set(trace.came) == (set(KINDS) - SLOW) | {f"{kind} off" for kind in TOGGLES}
    assert (trace.exit_code, trace.left, trace.errors) == (143, (0, 0), [])
    assert sum(mark.is_rest for mark in trace.marks) == 2
    assert told["host"]["osc"]["applied"] > 2 * soak.num_frames
    assert drawn.stat().st_size > 1000
    assert "p99 of latency" in soak_report.format_table(told)
