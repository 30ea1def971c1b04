"""Many devices in simulated time: its laws, and what the bench tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.bench import multi, multi_paper, multi_report
from sdv2_host.bench.multi import run
from sdv2_host.bench.multi_devices import BAND_SHARES, as_published, named_devices, read_times
from sdv2_host.bench.multi_placements import reference_split
from sdv2_host.bench.multi_simulation import Throttling, Traffic, follow, simulate
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.band_shares import planned_shares
from sdv2_host.stages.balance import Rules
from sdv2_host.stages.partition import best_partition
from sdv2_host.stages.work import DeviceTimes, Route, Split, as_work

milliseconds = st.floats(0.5, 20)
devices = st.lists(
    st.builds(
        DeviceTimes, milliseconds, st.tuples(*[milliseconds] * 6), milliseconds, st.just(0.0)
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=40)
@given(devices, st.sampled_from(Route), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_the_rate_is_that_of_the_slowest_stage_where_messages_do_not_wait(
    known: list[DeviceTimes], route: Route, num_steps: int, hop_ms: float
) -> None:
    num_decoders = min(len(known), num_steps)
    work = as_work(known, num_steps, route, split=Split(num_decoders, 1.1 / num_decoders))
    partition = best_partition(work)
    assert partition is not None

    outcome = simulate(work, partition, Traffic(hop_ms=hop_ms, lanes=40))

    assert outcome.fps == pytest.approx(4000 / partition.slowest_ms(work), rel=0.02)
    assert max(outcome.busy) <= 1 + 1e-9


@settings(deadline=None, max_examples=40)
@given(devices, st.integers(1, 3))
def test_a_lonely_chunk_takes_all_stages_and_hops_and_in_a_ring_as_many_turns_as_steps(
    known: list[DeviceTimes], num_steps: int
) -> None:
    hop_ms = 2.0
    for route in Route:
        work = as_work(known, num_steps, route)
        partition = best_partition(work)
        assert partition is not None
        stages = [ms for ms in partition.stage_ms(work) if ms]
        outcome = simulate(work, partition, Traffic(hop_ms=hop_ms, source_fps=0.01, lanes=1))
        one_way_ms = sum(stages) + hop_ms * (len(stages) - 1)
        if route is Route.CHAIN or num_steps == 1:
            assert outcome.latency_ms["p50"] == pytest.approx(one_way_ms)
        else:
            turn_ms = 1000 * 4 / 0.01
            expected = (num_steps - 1) * turn_ms + one_way_ms
            assert outcome.latency_ms["p50"] == pytest.approx(expected)


def test_ten_milliseconds_between_two_machines_cost_nothing_once_lanes_cover_the_lap() -> None:
    work = as_work([as_published("14b")] * 4, 2, Route.RING)
    partition = best_partition(work)
    assert partition is not None
    near = simulate(work, partition, Traffic(hop_ms=0.0))
    far = simulate(work, partition, Traffic(hop_ms=10.0, lanes=6))
    assert far.fps >= 0.97 * near.fps
    assert simulate(work, partition, Traffic(hop_ms=10.0, lanes=2)).fps < 0.8 * near.fps


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return multi_paper.figures()


def test_what_the_paper_reports_of_many_gpus_follows_from_what_it_reports_of_one(
    paper: dict[str, Any],
) -> None:
    for row in paper["throughput"]:
        assert row["reference"] == pytest.approx(row["paper"], rel=0.1), row["gpus"]
    assert paper["agreement"]["mean_error"] < 0.03


def test_the_best_ring_is_no_slower_than_the_references_split(paper: dict[str, Any]) -> None:
    for row in paper["throughput"]:
        for ring, reference in zip(row["ring"], row["reference"], strict=True):
            assert ring["fps"] >= 0.999 * reference
    even, reference, best = (row["fps"] for row in paper["balancing"])
    assert even < reference < best


def test_steps_in_turn_take_as_often_what_one_takes_which_is_what_stream_batch_saves(
    paper: dict[str, Any],
) -> None:
    assert len(paper["stream_batch"]) == 2
    for row in paper["stream_batch"]:
        assert row["serial"] == pytest.approx(row["paper_serial"], rel=0.06)
        assert row["batch"] == pytest.approx(row["paper_batch"], rel=0.03)
        assert all(b > s for b, s in zip(row["batch"][1:], row["serial"][1:], strict=True))


def test_a_share_of_the_tokens_gains_less_than_a_share_of_the_blocks(paper: dict[str, Any]) -> None:
    gains = {(row["model"], row["size"], row["gpus"]): row["gain"] for row in paper["sequence"]}
    assert all(1 < gain < gpus for (_, _, gpus), gain in gains.items())
    for model in ("1.3b", "14b"):  # more tokens gain more, as figure 14 has it
        assert gains[model, "512x512", 4] < gains[model, "832x480", 4]
    assert all(row["fps"][1] < row["ring_fps"] for row in paper["sequence"])


def test_no_forward_is_faster_than_the_device(paper: dict[str, Any]) -> None:
    for row in paper["roofline"]:
        assert row["tflops"] == sorted(row["tflops"])
        assert row["tflops"][-1] < multi_paper.DENSE_PEAK_TFLOPS


def test_the_shares_of_the_decoders_are_those_that_are_counted() -> None:
    config = Config.model_validate({"engine": "wan-1.3b", "width": 512, "height": 512})

    assert planned_shares(config) == pytest.approx(BAND_SHARES, abs=0.0006)


def test_eight_devices_whose_decoder_holds_them_up_are_faster_with_several() -> None:
    alone, helped = (
        multi._decoders([as_published("1.3b")] * 8, 4, count, Traffic(60)) for count in (1, 2)
    )

    assert helped["fps"] > 1.6 * alone["fps"]


def test_on_unequal_devices_the_search_beats_the_rule_of_the_reference() -> None:
    for names in ("4090,3090", "4090*2,3090*2", "h100,4090"):
        work = as_work(named_devices(names, "1.3b"), 2, Route.RING)
        best = best_partition(work)
        assert best is not None
        assert best.slowest_ms(work) < 0.95 * reference_split(work).slowest_ms(work)


def test_a_throttling_device_costs_a_hundredth_of_what_a_scheduler_that_knows_would_do() -> None:
    work = as_work([as_published("14b")] * 4, 4, Route.RING)
    shares = {name: follow(work, Throttling(), rules) for name, rules in RULES.items()}
    print({name: f"{share:.1%}, {moves} moves" for name, (share, moves) in shares.items()})
    assert shares["scheduler"][0] >= 0.99
    assert shares["scheduler"][1] <= 6
    assert shares["never"][0] < 0.95
    assert shares["eager"][0] < shares["scheduler"][0]


RULES = {
    "scheduler": Rules(),
    "never": None,
    "eager": Rules(min_gain=0.0, evidence=0.0, cooldown_s=0.0),
}


def test_the_report_names_every_route_placement_and_published_figure(tmp_path: Path) -> None:
    result = run(named_devices("4090,3090,3090", "1.3b"), 2, Traffic(60), lambda *_: None)
    json.dumps(result)
    table = multi_report.format_table(result)
    for word in ("ring", "chain", "reference", "ring, 2 decoders", "64.5", "Figure 15", "moves"):
        assert word in table
    assert multi_report.write_picture(tmp_path / "multi.png", result).stat().st_size > 1000


def test_a_single_device_has_no_placement_that_needs_two() -> None:
    result = run(named_devices("4090", "1.3b"), 1, Traffic(30), lambda *_: None)
    assert "too few devices" in multi_report.format_table(result)


@pytest.mark.parametrize("names", ["", "h100*0", "h100*17", "gtx", "h100*9,h200*9", "h100*²"])
def test_devices_that_do_not_exist_are_refused_with_those_that_do(names: str) -> None:
    with pytest.raises(ConfigError, match="--devices"):
        named_devices(names, "1.3b")


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "{}",
        "[]",
        '[{"encode_ms": 1}]',
        '[{"encode_ms": 1, "block_ms": [], "decode_ms": 1}]',
        '[{"encode_ms": -1, "block_ms": [1], "decode_ms": 1}]',
        '[{"encode_ms": 1, "block_ms": [1], "decode_ms": NaN}]',
        '[{"encode_ms": 1, "block_ms": [1], "decode_ms": 1, "row_saving": 2}]',
        '[{"encode_ms": 1, "block_ms": [0, 0], "decode_ms": 1}]',
        '[{"encode_ms":1,"block_ms":[1],"decode_ms":1},{"encode_ms":1,"block_ms":[1,2],"decode_ms":1}]',
    ],
)
def test_a_file_of_times_that_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="times\\.json"):
        read_times(path)


def test_measured_times_are_taken_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text('[{"encode_ms": 3, "block_ms": [1, 2], "decode_ms": 4}]')
    assert read_times(path) == [DeviceTimes(3.0, (1.0, 2.0), 4.0)]
    with pytest.raises(ConfigError, match="absent"):
        read_times(tmp_path / "absent.json")
