"""`bench multi` on devices of this computer: what it compares, counts and tells; not how fast."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.bench.measured_deaths import measure_deaths
from sdv2_host.bench.measured_hop import leaf_shape, measure_hop_ms
from sdv2_host.bench.measured_report import death_lines
from sdv2_host.bench.measured_setups import Kind, Setup, Subject, device_models, setups_of
from sdv2_host.bench.multi_devices import read_times
from sdv2_host.bench.multi_measured import MeasurePlan, _Clocked, promised_fps, stage_ms
from sdv2_host.commands.bench import bench_multi_measured
from sdv2_host.commands.bench_multi import Choices
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.params import Params
from sdv2_host.stages.block_scheduler import PlaceTimes
from sdv2_host.stages.messages import Load
from sdv2_host.stages.rank_build import build_rank
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import DeviceTimes, Route

TINY = Config(engine="tiny", width=64, height=64, devices="cpu,cpu", threads=1)
ALONE = TINY.model_copy(update={"devices": "", "device": "cpu"})
CPU = torch.device("cpu")


def quiet(text: str, fraction: float) -> None:
    """Progress that nobody looks at."""


def test_each_route_is_measured_with_every_number_of_devices_beside_a_stream_on_one() -> None:
    setups = setups_of(("cpu", "cpu", "cpu"), 2, tuple(Route))

    assert setups[0] == Setup(Kind.BARE, 1, 2)
    for kind in (Kind.RING, Kind.CHAIN):
        of_kind = [one for one in setups if one.kind is kind]
        assert [one.num_devices for one in of_kind] == [1, 2, 3]
        assert {one.threads for one in of_kind} == {2}
    assert {one.threads for one in setups if one.kind is Kind.SERIAL} == {2, 6}
    assert len({one.label for one in setups}) == len(setups)


def test_a_gpu_has_no_threads_to_be_given_more_of() -> None:
    setups = setups_of(("cuda:0", "cuda:1"), 4, (Route.RING,))

    assert [one.kind for one in setups] == [*list(Kind)[:3], Kind.RING, Kind.RING]


@given(
    st.sampled_from(Route),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 4),
    st.floats(0.1, 9),
)
def test_what_the_places_take_is_together_what_one_would(
    route: Route, steps: int, num_blocks: int, num_places: int, block_ms: float
) -> None:
    plan = RoutePlan.even(route, steps, num_blocks, num_places)
    times = [PlaceTimes(3.0, block_ms, 5.0)] * num_places

    together_ms = sum(stage_ms(plan, steps, times))

    assert together_ms == pytest.approx(3.0 + steps * num_blocks * block_ms + 5.0)


def test_what_is_promised_for_one_device_is_one_chunk_after_the_other() -> None:
    alone = DeviceTimes(3.0, (1.0, 2.0), 4.0, row_saving=0.5)

    assert promised_fps([alone], 2, Route.CHAIN) == pytest.approx(4000 / (3 + 2 * 3 + 4))
    assert promised_fps([alone], 2, Route.RING) == pytest.approx(4000 / (3 + 1.5 * 3 + 4))
    assert promised_fps([alone] * 2, 2, Route.RING) == pytest.approx(4000 / 7)


@given(st.integers(0, 5), st.integers(1, 20))
def test_every_chunk_is_clocked_once_however_many_are_held_back(held: int, num_chunks: int) -> None:
    owed: deque[int] = deque([1])

    def step() -> int:
        owed.append(4)
        return sum(owed.popleft() for _ in range(max(0, len(owed) - held)))

    def finish() -> int:
        came = sum(owed)
        owed.clear()
        return came

    clocked = _Clocked(Subject(step, finish))
    clocked.feed(num_chunks)
    before_end = len(clocked.latency_ms)
    clocked.finish()

    assert before_end == max(0, num_chunks - held)
    assert len(clocked.latency_ms) == num_chunks


def test_the_leaf_that_is_timed_is_the_one_that_ranks_send() -> None:
    models, spec = device_models(ALONE, quiet)
    load = Load(rank=0, config=TINY, num_ranks=1)
    rank = build_rank(load, CPU, lambda _: None, quiet).rank

    assert leaf_shape(models.dit.dims, spec) == rank.forward_shape


def test_a_hop_takes_time() -> None:
    models, spec = device_models(ALONE, quiet)

    assert measure_hop_ms([CPU, CPU], leaf_shape(models.dit.dims, spec)) > 0


def test_a_measurement_tells_of_every_setup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = MeasurePlan(
        config=TINY,
        params=Params(steps=2, drift="off"),
        setups=(Setup(Kind.BARE, 1, 1), Setup(Kind.BATCH, 1, 1), Setup(Kind.RING, 2, 1)),
        routes=(),
        seconds=0.1,
        rounds=1,
        kills=0,
    )

    bench_multi_measured(plan, None, tmp_path)

    result = json.loads((tmp_path / "multi.json").read_text())
    bare, batch, ring = result["rows"]
    assert bare["of_bare"] == 1.0
    assert batch["fps"] > 0
    assert ring["places"][0]["items"][0] == 0
    assert ring["places"][-1]["items"][1] == 5
    assert all(place["stage_ms"] > 0 and place["busy"] > 0 for place in ring["places"])
    assert ring["of_promised"] == pytest.approx(ring["fps"] / ring["promised_fps"])
    printed = capsys.readouterr().out
    for word in ("bare pipeline", "engine, batch", "ring, 2 devices", "--times"):
        assert word in printed
    assert (tmp_path / "multi.png").stat().st_size > 1000
    assert len(read_times(tmp_path / "times.json")) == 2


@pytest.mark.timeout(300)  # four processes load the model anew, on a machine that may be busy
def test_no_frame_is_lost_to_a_kill_or_a_hang_of_any_rank() -> None:
    params = Params(steps=1, drift="off")

    killed, hung = measure_deaths(TINY, params, (Route.CHAIN,), 1, quiet)

    for row in (killed, hung):
        assert row["problem"] == ""
        assert row["frames_lost"] == 0
        assert row["times"] == len(row["recoveries"]) == 2
        for one in row["recoveries"]:
            assert one["noticed_ms"] > 0
            assert one["first_ms"] <= 1000 * one["whole_s"]
    assert len(death_lines({"deaths": [killed, hung]})) == 5


def test_a_ring_that_does_not_come_back_is_told_of_and_the_others_are_measured() -> None:
    alone = TINY.model_copy(update={"devices": "cpu"})

    rows = measure_deaths(alone, Params(steps=1, drift="off"), (Route.RING,), 1, quiet)

    assert [row["times"] for row in rows] == [0, 0]
    for row in rows:
        assert row["problem"].startswith("after 0 of 1: no device of the ring is left")
        assert row["frames_lost"] is None
    told = "\n".join(death_lines({"deaths": rows}))
    assert told.count("no device of the ring is left") == 2


@pytest.mark.parametrize(
    ("devices", "are_real"),
    [("h100*4", False), ("4090, 3090", False), ("cpu,cpu", True), ("CUDA:0,cuda:1", True)],
)
def test_names_of_this_computers_devices_mean_that_they_are_measured(
    devices: str, are_real: bool
) -> None:
    assert Choices(devices, 2, 0, None, None).are_real == are_real


def test_a_device_can_be_asked_for_several_times() -> None:
    assert Choices("cpu*2,cuda:0", 2, 0, None, None).real_devices() == ("cpu", "cpu", "cuda:0")


@pytest.mark.parametrize("devices", ["cpu*0", "cpu*17", "cpu*9,cuda:0*9"])
def test_too_many_or_no_devices_are_refused(devices: str) -> None:
    with pytest.raises(ConfigError, match=r"expected 1\.\.16"):
        Choices(devices, 2, 0, None, None).real_devices()


def test_simulated_and_real_devices_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="either devices of this computer"):
        _ = Choices("cpu,h100", 2, 0, None, None).are_real


@pytest.mark.parametrize(
    ("devices", "message"), [("cpu,cpu", "leave --x out"), ("h100", "add --devices cpu,cpu")]
)
def test_an_option_of_the_other_kind_is_refused_with_what_to_do(devices: str, message: str) -> None:
    choices = Choices(devices, 2, 0, None, None)

    choices.refuse(("--x", None))
    with pytest.raises(ConfigError, match=message):
        choices.refuse(("--y", None), ("--x", 3))
