"""The bench of an hour holds a clean stream for clean, and finds each fault that was planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sdv2_host.bench.hour import FEWEST_MINUTES, HourPlan, judge, kept, trace_path
from sdv2_host.bench.hour_report import draw, format_table
from sdv2_host.bench.hour_resets import ks_distance, paired, reset_chunks, resets
from sdv2_host.bench.hour_show import MINUTE_CHUNKS, Show
from sdv2_host.bench.hour_trace import Trace
from sdv2_host.bench.hour_verdicts import NOISE_SPREADS, drift, memory, recovery, trend, within
from sdv2_host.commands.bench_app import bench_app
from sdv2_host.errors import ConfigError
from sdv2_host.types import Size

SIZE = Size(64, 64)
HALF_HOUR, HOUR = (Show(minutes * MINUTE_CHUNKS, SIZE) for minutes in (30, 60))
MIB = 2**20


def clean_trace(show: Show, seed: int = 0) -> Trace:
    """A made up stream without a fault: everything is noise around what it should be."""
    rng = np.random.default_rng(seed)
    trace = Trace.fresh(show)
    n = show.num_chunks
    trace.source_step_N[:] = np.exp(rng.normal(-3, 0.5, n))
    trace.picture_step_N[:] = trace.source_step_N * np.exp(rng.normal(0.2, 0.1, n))
    trace.source_colours_NS[:] = rng.normal(0.5, 0.02, (n, 6))
    trace.colours_NS[:] = rng.normal(0.5, 0.02, (n, 6))
    trace.detail_N[:] = rng.normal(0.03, 0.001, n)
    trace.style_N[::5] = rng.normal(0.8, 0.02, len(trace.style_N[::5]))
    trace.drift_N[:] = np.abs(rng.normal(0, 0.5, n))
    trace.step_ms_N[:] = 20.0
    trace.away_AP[:] = rng.normal(0.015, 0.001, trace.away_AP.shape)
    for held in (trace.changed_CK, trace.fresh_CK):
        held[:] = rng.normal(0.8, 0.02, held.shape)
    trace.named_changed_CK[:] = trace.named_fresh_CK[:] = 1.0
    trace.rss_bytes_M[:] = 400 * MIB + rng.normal(0, MIB / 4, len(trace.rss_bytes_M))
    trace.blocks_M[:] = 650_000
    trace.handles_M[:], trace.threads_M[:] = 6, 2
    trace.seconds_1[:] = n * 0.025
    return trace


@pytest.fixture
def trace() -> Trace:
    return clean_trace(HALF_HOUR)


def test_a_clean_stream_is_held_for_clean() -> None:
    trace = clean_trace(HOUR)

    steps = resets(HOUR, trace)

    assert memory(trace)["flat"] is True
    assert recovery(HOUR, trace)["as_well"] is True
    assert steps["frames"]["no_step"] is True
    assert steps["colours"]["no_step"] is True


def test_a_colour_that_drifts_is_found_and_what_does_not_is_not() -> None:
    trace = clean_trace(HOUR)
    trace.colours_NS[:, 0] += np.linspace(0, 0.06, HOUR.num_chunks)

    found = drift(HOUR, trace)

    between = {row["statistic"]: row["in_all_interval"] for row in found["statistics"]}
    assert found["within_noise"] is False
    assert between.pop("mean of R")[0] > NOISE_SPREADS
    assert all(within(one, -NOISE_SPREADS, NOISE_SPREADS) for one in between.values())


def test_what_other_scenes_look_like_is_no_drift() -> None:
    trace = clean_trace(HOUR)
    other = [HOUR.moment(chunk).anchor_chunk is None for chunk in range(HOUR.num_chunks)]
    trace.colours_NS[other] += np.linspace(0, 1, sum(other))[:, None]

    assert drift(HOUR, trace)["within_noise"] is True


def leak(trace: Trace) -> None:
    trace.rss_bytes_M[:] += np.linspace(0, 10 * MIB, len(trace.rss_bytes_M))


def leave_files_open(trace: Trace) -> None:
    trace.handles_M[-30:] += 1


def leave_threads_running(trace: Trace) -> None:
    trace.threads_M[-30:] += 1


@pytest.mark.parametrize("fault", [leak, leave_files_open, leave_threads_running])
def test_memory_files_and_threads_that_pile_up_are_found(
    trace: Trace, fault: Callable[[Trace], None]
) -> None:
    fault(trace)

    assert memory(trace)["flat"] is False


def test_memory_that_is_taken_in_the_first_minutes_is_no_growth(trace: Trace) -> None:
    trace.rss_bytes_M[:120] -= 50 * MIB

    assert memory(trace)["flat"] is True


def test_a_look_that_comes_late_is_found_and_named(trace: Trace) -> None:
    styles = np.array([HALF_HOUR.moment(chunk).style for chunk in HALF_HOUR.changes()])
    trace.changed_CK[:, :3] -= 0.3
    trace.changed_CK[styles == "neon", :7] -= 0.3

    found = recovery(HALF_HOUR, trace)

    assert found["recovered_after"] == 3
    assert found["by_style"]["neon"] == 7
    assert {since for name, since in found["by_style"].items() if name != "neon"} == {3}
    assert found["as_well"] is True


def test_a_look_that_is_not_there_after_four_chunks_fails(trace: Trace) -> None:
    trace.changed_CK[:, :5] -= 0.3

    assert recovery(HALF_HOUR, trace)["as_well"] is False


def test_a_step_at_resets_is_found_in_frames_and_in_colours(trace: Trace) -> None:
    at = reset_chunks(HALF_HOUR.num_chunks)
    trace.picture_step_N[at] *= 1.2
    trace.colours_NS[at] += 0.1

    found = resets(HALF_HOUR, trace)

    assert found["frames"]["no_step"] is False
    assert found["colours"]["no_step"] is False
    assert found["frames"]["more_percent"] == pytest.approx(20, abs=3)
    assert found["frames"]["ks"] > 3 * found["frames"]["ks_95"]
    largest = max(found["by_offset"], key=lambda row: row["effect"])
    assert largest["offset"] == 0


def test_steps_at_cuts_and_new_looks_count_on_no_side(trace: Trace) -> None:
    before = resets(HALF_HOUR, trace)
    for chunk in range(HALF_HOUR.num_chunks):
        moment = HALF_HOUR.moment(chunk)
        if moment.is_cut or moment.has_new_look:
            trace.picture_step_N[chunk : chunk + 8] = 1.0

    after = resets(HALF_HOUR, trace)

    assert after["frames"] == before["frames"]


def test_pairs_of_streams_show_how_large_a_step_is_that_hides_in_the_content(trace: Trace) -> None:
    rng = np.random.default_rng(5)
    content = np.exp(rng.normal(0, 1.0, HALF_HOUR.num_chunks)).astype(np.float32)
    other = clean_trace(HALF_HOUR)
    other.picture_step_N[:] = trace.picture_step_N * np.exp(
        rng.normal(0, 0.05, HALF_HOUR.num_chunks)
    )
    at = reset_chunks(HALF_HOUR.num_chunks)
    for one in (trace, other):
        one.picture_step_N[:] *= content
    trace.picture_step_N[at] *= 1.05

    alone, pairs = resets(HALF_HOUR, trace)["frames"], paired(HALF_HOUR, trace, other)["frames"]

    assert alone["more_percent_interval"][0] < 0 < alone["more_percent_interval"][1]
    assert 3 < pairs["more_percent_interval"][0] < 5 < pairs["more_percent_interval"][1] < 7
    assert pairs["no_step"] is True


def test_pairs_of_streams_show_a_step_that_is_large(trace: Trace) -> None:
    other = clean_trace(HALF_HOUR)
    trace.picture_step_N[reset_chunks(HALF_HOUR.num_chunks)] *= 1.2

    trace.colours_NS[reset_chunks(HALF_HOUR.num_chunks)] += 0.1

    found = paired(HALF_HOUR, trace, other)

    assert found["frames"]["no_step"] is False
    assert found["colours"]["no_step"] is False


def test_a_handful_of_resets_proves_nothing() -> None:
    show = Show(3 * MINUTE_CHUNKS, SIZE)

    assert resets(show, clean_trace(show))["frames"]["no_step"] is None


def test_the_distance_of_two_samples_is_the_largest_of_their_distributions() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 30), rng.normal(0.5, 1, 50)

    naive = max(abs(float((a <= x).mean() - (b <= x).mean())) for x in (*a, *b))

    assert ks_distance(a, b) == pytest.approx(naive)
    assert ks_distance(a, a) == 0


def test_a_trend_is_the_slope_of_a_line_and_its_interval_holds_it() -> None:
    times = np.arange(40.0)
    noise = np.random.default_rng(2).normal(0, 1, 40)

    slope, between = trend(times, 3 * times + noise)

    assert slope == pytest.approx(np.polyfit(times, 3 * times + noise, 1)[0])
    assert between[0] < 3 < between[1]
    assert trend(times, 3 * times)[1] == pytest.approx([3, 3])


def test_a_few_points_are_no_trend() -> None:
    slope, between = trend(np.arange(9.0), np.arange(9.0))

    assert np.isnan([slope, *between]).all()
    assert within(between, -1, 1) is None


@pytest.mark.parametrize(
    ("between", "expected"),
    [([-1.0, 1.0], True), ([1.0, 3.0], None), ([2.5, 3.0], False), ([-4.0, -3.0], False)],
)
def test_a_claim_is_decided_by_its_whole_interval(
    between: list[float], expected: bool | None
) -> None:
    assert within(between, -2, 2) is expected


PLAN = HourPlan(minutes=FEWEST_MINUTES, chunks=16 * MINUTE_CHUNKS, size=SIZE)


def made_up_traces() -> dict[str, Trace]:
    return {plan.name: clean_trace(plan.show, seed) for seed, plan in enumerate(PLAN.streams)}


def test_the_result_fits_json_and_table_and_pictures_show_it(tmp_path: Path) -> None:
    traces = made_up_traces()

    result = judge(PLAN, traces, 60.0)
    table = format_table(json.loads(json.dumps(result, allow_nan=False)))
    draw(tmp_path, PLAN, traces, result)

    assert all(f"== {plan.name}: {plan.show.num_chunks} chunks" in table for plan in PLAN.streams)
    assert table.count("memory flat") == 3
    assert "new looks: none" in table
    for name in ("show", "one-look", "resets", "steps"):
        assert (tmp_path / f"hour-{name}.png").stat().st_size > 1000


def test_kept_traces_are_judged_again_without_streaming(
    tmp_path: Path,
) -> None:
    traces = made_up_traces()
    for name, one in traces.items():
        one.save(trace_path(tmp_path, name))
    asked = ["--from", str(tmp_path), "--minutes", "15", "--chunks", str(16 * MINUTE_CHUNKS)]

    said = CliRunner().invoke(bench_app, ["hour", *asked])

    assert said.exit_code == 0
    expected = format_table(judge(PLAN, kept(tmp_path, PLAN), 0.0))
    assert said.stdout.splitlines()[1:] == expected.splitlines()[1:]


def test_kept_traces_of_another_plan_or_none_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hour-resets\.npz is no trace"):
        kept(tmp_path, PLAN)
    for name, one in made_up_traces().items():
        one.save(trace_path(tmp_path, name))

    with pytest.raises(ConfigError, match="has 7216 chunks, --minutes and --chunks ask for 6765"):
        kept(tmp_path, HourPlan(minutes=15, chunks=0, size=SIZE))


@pytest.mark.parametrize("length", [0, 1000])
def test_a_trace_that_was_cut_off_is_refused(tmp_path: Path, trace: Trace, length: int) -> None:
    trace.save(tmp_path / "t.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    (tmp_path / "t.npz").write_bytes(whole[:length])

    with pytest.raises(ConfigError, match=r"t\.npz is no trace"):
        Trace.load(tmp_path / "t.npz")


def test_a_trace_is_kept_whole(tmp_path: Path, trace: Trace) -> None:
    trace.save(tmp_path / "new" / "t.npz")

    loaded = Trace.load(tmp_path / "new" / "t.npz")

    for field in fields(Trace):
        assert np.array_equal(getattr(loaded, field.name), getattr(trace, field.name), True)
